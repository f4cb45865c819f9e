"""The Containerfile language, as BuildKit's frontend and buildah read it.

    text = read(path)                                    # bounded
    parsed = parse.parse(text, "Containerfile")          # model.Containerfile: stages of instructions
    scope = scope.Scope(...)                             # which variables a stage sees
    ready = expand.expanded(instruction, scope.variables, parsed.escape)

Parsing does no expansion and reads no file; expansion is a step of its own because ARG and ENV change from
line to line. Differences from BuildKit are in docs/containerfile.md; tests/build compares with its parser.
"""
