"""Files as their publishers offer them → raw canonical tables. One module a format."""
