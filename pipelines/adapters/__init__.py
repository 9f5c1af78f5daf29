"""Files as their publishers offer them → raw canonical tables. One module a format."""

PUBLISHED = ("online-retail", "sequences", "hillstrom", "open-bandit")
PICTURES = ("image-folder", "idx")
FORMATS = ("auto", "canonical", "csv", *PUBLISHED, *PICTURES)
