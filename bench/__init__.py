"""`make bench`: Orlop against its peers, in one run on one machine; ratios, not promises."""
