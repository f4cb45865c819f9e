"""`orlop config VERB`."""
