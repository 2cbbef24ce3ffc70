"""Networks of other projects that draw images of classes; attribute names are the released ones."""
