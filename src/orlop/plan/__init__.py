"""A declared state, its difference to what is, and the recorded, resumable steps that close it.

Contract
--------
- One engine for every layer that applies something: `system` now; `infra`, `cluster` and `app` later.
- `difference` is pure: the same two states give the same plan, in the same order; nothing to do is an empty
  plan.
- A plan is written down before its first step runs, each step when it is done. Whoever applies the same plan
  again, in any process, after any crash, repeats no step that was recorded as done.
- A step may be carried out twice (the crash came between doing and recording), so executors are idempotent.
- Independent steps run at the same time; a failed step stops what depends on it, not its siblings, and every
  failure is reported.
"""
