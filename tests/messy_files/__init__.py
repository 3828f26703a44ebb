"""Files in the manner of other programs, with what a careful analyst reads in each of them."""
