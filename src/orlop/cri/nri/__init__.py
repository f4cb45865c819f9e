"""Node Resource Interface: plugins that see and adjust pods and containers (containerd/nri v1alpha1).

    nri.py        the hooks of `pod`, in worker threads; hands them over to the loop and waits
    plugins.py    who is there, the order of calls; launch.py: installed ones; validate.py: the built-in one
    plugin.py     one plugin: registration, configuration, calls, what becomes of one that fails
    ttrpc.py, mux.py        the wire
    collect.py, owners.py   what several plugins want, put together, conflicts found
    adjust.py, resources.py, updates.py   carried out; describe.py: what plugins are shown

Contract
--------
- Where no plugin is, an event costs a microsecond and reads nothing.
- A plugin cannot hold a request longer than its time, nor the daemon at all. Nothing here is kept on disk.
- Whoever joins is told of everything, then hears of each change once.
"""
