"""The table of commands: what there is, where it is, and what it does in a line. Imports nothing.

A command is a module with `DESCRIPTION`, `EXAMPLES`, `add_arguments(parser)` and `run(context, arguments)`
(the port is `orlop.cli.parser.Command`); the table's line is its summary everywhere.
"""

from __future__ import annotations

#: The words that a user types -> (module below orlop.cli, summary).
COMMANDS: dict[tuple[str, ...], tuple[str, str]] = {
    ("run",): ("container.run", "Run a command in a new container"),
    ("play",): ("play", "Make what a Kubernetes YAML file declares, keep it so, or take it away"),
    ("ps",): ("container.ps", "List containers"),
    ("logs",): ("container.logs", "Print what a container wrote"),
    ("exec",): ("container.exec", "Run a command in a running container"),
    ("attach",): ("container.attach", "Connect the terminal to a running container"),
    ("inspect",): ("container.inspect", "Print everything that is known of containers"),
    ("stop",): ("container.stop", "Stop containers"),
    ("remove",): ("container.remove", "Remove containers"),
    ("stats",): ("container.stats", "Show what containers use: CPU, memory, network, disk, processes"),
    ("cp",): ("container.cp", "Copy files into or out of a container"),
    ("diff",): ("container.diff", "List the files in which a container differs from its image"),
    ("build",): ("build", "Build an image from a Containerfile"),
    ("image", "pull"): ("image.pull", "Fetch images from their registries"),
    ("image", "copy"): ("image.copy", "Copy an image between registries, files and this node"),
    ("image", "sync"): ("image.sync", "Copy many images between registries, folders and layouts"),
    ("image", "push"): ("image.push", "Send an image of this node to a registry"),
    ("image", "bootstrap"): ("image.bootstrap", "Make a Debian base image from its packages"),
    ("image", "list"): ("image.list", "List the images that are stored here"),
    ("image", "inspect"): ("image.inspect", "Print everything that is known of images"),
    ("image", "list-tags"): ("image.list_tags", "List the tags of a repository at its registry"),
    ("image", "delete"): ("image.delete", "Delete an image from a registry or an OCI layout"),
    ("image", "login"): ("image.login", "Log in to a registry"),
    ("image", "logout"): ("image.logout", "Forget the credentials for a registry"),
    ("image", "history"): ("image.history", "Print the steps that an image was made by"),
    ("image", "tree"): ("image.tree", "Show which image stands on which, by the layers that they share"),
    ("image", "diff"): ("image.diff", "List the files in which two images differ"),
    ("image", "export"): ("image.export", "Write an image's whole file system as a tar archive"),
    ("image", "import"): ("image.import_", "Make an image from the tar archive of a file system"),
    ("image", "save"): ("image.save", "Write an image to an archive, as docker save does"),
    ("image", "load"): ("image.load", "Take the images of an archive in, as docker load does"),
    ("image", "sign"): ("image.sign", "Sign an image, as cosign or as skopeo does"),
    ("image", "verify"): ("image.verify", "Verify an image's signatures, and say whose they are"),
    ("image", "generate-key"): ("image.generate_key", "Make a key pair to sign images with"),
    ("image", "remove"): ("image.remove", "Remove names of images, and images that have none left"),
    ("image", "tag"): ("image.tag", "Give an image one more name"),
    ("image", "mount"): ("image.mount", "Mount an image's file system read-only and print where"),
    ("image", "unmount"): ("image.unmount", "Take an image's mount away"),
    ("store", "check"): ("store.check", "Verify everything that is stored, and repair it if asked to"),
    ("store", "df"): ("store.df", "Show what takes how much disk space"),
    ("store", "prune"): ("store.prune", "Remove what nothing uses"),
    ("pod", "list"): ("pod.list", "List pods"),
    ("pod", "inspect"): ("pod.inspect", "Print everything that is known of pods"),
    ("pod", "stop"): ("pod.stop", "Stop pods: their containers, then their network"),
    ("pod", "remove"): ("pod.remove", "Remove pods and their containers"),
    ("registry", "serve"): ("registry.serve", "Serve a registry on this node's store, in the foreground"),
    ("registry", "list"): ("registry.list", "List what the registry on this node holds"),
    ("registry", "gc"): ("registry.gc", "Remove what the registry on this node needs no more"),
    ("registry", "passwd"): ("registry.passwd", "Set the password of a user of the registry"),
    ("supervise",): ("supervise", "Keep played pods as they were declared, in the foreground"),
    ("serve",): ("serve", "Be the container runtime of a kubelet: the CRI on a socket, in the foreground"),
    ("status",): ("status", "Say how the daemon of this node is"),
    ("config", "show"): (
        "config.show",
        "Print every key of the configuration, its value and where it is from",
    ),
    ("node", "check"): ("node.check", "Say whether this machine is ready, and what is missing"),
    ("node", "down"): ("node.down", "Stop and remove everything that this node runs"),
    ("completion",): ("completion", "Print the completion script of a shell"),
    ("man",): ("man", "Write the manual pages"),
    ("version",): ("version", "Print the versions of Orlop and of what it runs on"),
    ("help",): ("help", "Explain a command"),
}

#: What people's fingers say -> what it is called here.
ALIASES: dict[tuple[str, ...], tuple[str, ...]] = {
    ("rm",): ("remove",),
    ("ls",): ("ps",),
    ("push",): ("image", "push"),
    ("login",): ("image", "login"),
    ("logout",): ("image", "logout"),
    ("image", "ls"): ("image", "list"),
    ("image", "rm"): ("image", "remove"),
    ("image", "umount"): ("image", "unmount"),
    ("registry", "ls"): ("registry", "list"),
    ("pod", "ls"): ("pod", "list"),
    ("pod", "ps"): ("pod", "list"),
    ("pod", "rm"): ("pod", "remove"),
}

NOUNS: dict[str, str] = {
    "image": "Images: fetch, list, name, look into, remove",
    "store": "What is on disk: check, measure, clean",
    "registry": "A registry on what is stored here: serve, list, clean, users",
    "pod": "Pods: list, look into, stop, remove",
    "config": "The configuration: what it is, and which file said so",
    "node": "This machine: is it ready, and how to clean it",
}
