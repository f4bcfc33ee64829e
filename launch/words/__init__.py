"""The words of `mfo`: arguments, options and help. What commands do stands elsewhere in launch."""
