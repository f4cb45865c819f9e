"""Which images may be used: containers-policy.json(5).

Contract
--------
- A policy is read strictly: what is unknown, missing or said twice is an error, and an error refuses.
- The most specific scope decides; every requirement of its list must hold.
- An image is judged by the name that was asked for, never by the mirror or the folder that it came from.
- A signature of an index counts for every manifest that the index leads to; both are compared by digests
  that were computed here.
- `load` and `model` import nothing heavy: `orlop run` reads the policy each time.

The public faces are `orlop.image.policy.gate.gate` (pull and copy), `orlop.image.policy.stored` (what is in a
store) and `orlop.image.policy.load.load`.
"""
