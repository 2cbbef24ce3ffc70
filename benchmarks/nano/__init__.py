"""How the models that ship were made: photos, classes, curves, nearest photos, shipping."""
