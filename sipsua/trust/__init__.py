"""The locksmith: certificates in, one Verdict out."""
