"""Running a recipe: the command line, the pipeline of stages, sites and submission."""
