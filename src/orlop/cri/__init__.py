"""The daemon that the kubelet speaks to: CRI v1 over the command line's store and pods. Translation only.

Contract
--------
- One file per RPC (runtime/, image/), each with one function of the RPC's name in snake case:
  `def stop_container(service: Service, request: pb.StopContainerRequest) -> pb.StopContainerResponse`. A
  plain function is run in a worker thread, an `async def` on the loop; a stream is an async generator.
- A request whose deadline passes goes on in its thread to its end, or undoes itself; a repeat of it joins it
  (`pod`'s claims), and is never told that a name is reserved.
- No state but what `pod` and `store` have on disk: whatever dies with this process is found again.
- proto/ is the interface; translate/ turns messages into `pod`'s values and back; streaming/ serves exec,
  attach and port-forward; nri/ is the Node Resource Interface; operate/ is what operators see of the daemon.
"""
