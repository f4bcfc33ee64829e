"""Before a run: does it fit, how long, what does it cost, is everything there?"""
