module orlop.invalid/conformance

go 1.24
