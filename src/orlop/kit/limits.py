"""Every limit of Orlop in one place: sizes in bytes, times in seconds, counts and depths as numbers.

A bound that an operator may move is also a key of the configuration file; the value here is its default.
"""

from __future__ import annotations

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB

# Processes
PROCESS_OUTPUT = 8 * MIB  # captured output of one child; more is an error, never a truncated success
PROCESS_TIMEOUT = 120.0  # a child that was given no time of its own
RUNTIME_TIMEOUT = 60.0  # crun/runc create, start, delete, ...
CNI_TIMEOUT = 60.0  # one plugin's ADD, DEL or CHECK
CNI_ATTEMPTS = 3  # of one DEL before its caller hears of it; the record stays, so it is tried again later
CNI_PAUSE = 0.05  # before the second attempt; doubles
CNI_RETRY = 30.0  # between two commands that ask the network again for a DEL that failed
CNI_FILE_SIZE = 1 * MIB  # a network configuration, a result, a record
CREDENTIAL_HELPER_TIMEOUT = 15.0

# Logs of Orlop itself
LOG_MESSAGE = 4096  # characters of one message

# Locks and databases
LOCK_TIMEOUT = 600.0  # waiting for another process to finish the same layer
DATABASE_BUSY = 60.0  # waiting for another process's transaction

# Documents
MANIFEST_SIZE = 4 * MIB  # manifests and indexes, as the distribution specification recommends
IMAGE_CONFIG_SIZE = 8 * MIB
INDEX_DEPTH = 4  # indexes within indexes
INDEX_CHOICES = 8  # entries of one index that are looked into
LAYERS_PER_IMAGE = 500  # overlayfs mounts at most 500 lower folders
YAML_SIZE = 16 * MIB  # one `play` file
YAML_DEPTH = 100
YAML_EXPANDED = 64 * MIB  # with every alias written out; a node counts as YAML_NODE and its text
YAML_NODE = 64
CONFIG_FILE_SIZE = 1 * MIB  # orlop.toml, registries.conf, auth.json
ETC_PASSWD_SIZE = 1 * MIB  # of an image: read with this bound, hostile by assumption
NAME_LENGTH = 253  # pods, volumes, names in Kubernetes' sense

# Signatures of images
SIGNATURE_SIZE = 1 * MIB  # one signature, payload, certificate chain or bundle
SIGNATURES = 64  # of one manifest that are looked at
SIGNATURES_SIZE = 16 * MIB  # of one image, all of them together
CERTIFICATES = 8  # from a signer's to its root
LOG_PROOF = 64  # hashes of a proof that a log has an entry: a tree of 2^64
SCRYPT_MEMORY = 256 * MIB  # what a private key may ask for its password
GPG_TIMEOUT = 30.0
LOOKASIDE_FILES = 128  # files of registries.d

# Archives: a layer beyond any of these is refused whole
LAYER_UNPACKED = 64 * GIB
LAYER_ENTRIES = 2_000_000
LAYER_RATIO = 1100  # unpacked : packed once past RATIO_FLOOR; deflate's own best is 1032
RATIO_FLOOR = 256 * MIB
TAR_HEADER = 1 * MIB  # PAX records and GNU long names of one entry
PATH_LENGTH = 4096
PATH_DEPTH = 512
XATTR_SIZE = 64 * KIB

# What the store keeps for a while, in seconds
UPLOAD_AGE = 24 * 3600.0  # an upload to our registry that nobody goes on with
BUILD_CACHE_AGE = 14 * 24 * 3600.0  # the nameless image of a build's step, since it was last of use

# Images in files: layouts, archives, folders, other tools' storage
FILE_MEMBERS = 200_000  # members of one archive of images (layers are one member each)
FILE_LINKS = 8  # links within such an archive that lead from one to the next
FILE_UNPACKED = 256 * GIB  # of a compressed one, and of one that comes through a pipe
LAYOUT_ENTRIES = 50_000  # descriptors that one look through a layout's indexes takes
STORAGE_RECORDS = 256 * MIB  # images.json or layers.json of containers/storage
TAR_SPLIT_LINE = 16 * MIB  # one record of a tar-split file
TAR_SPLIT_SIZE = 4 * GIB  # all of them, unpacked
SYNC_IMAGES = 100_000  # that one sync may name

# Registries
HTTP_CONNECT_TIMEOUT = 10.0
HTTP_READ_TIMEOUT = 60.0
HTTP_ATTEMPTS = 6  # of one request, the first included
HTTP_BACKOFF = 0.2  # first wait; doubles up to HTTP_BACKOFF_MAX, with jitter
HTTP_BACKOFF_MAX = 10.0
HTTP_RETRY_AFTER_MAX = 60.0  # a server that asks for a longer pause is reported instead of waited for
HTTP_PROGRESS = MIB  # a broken blob that had got this much further starts with all its attempts again
HTTP_SLOWEST = 1024  # bytes a second over one read timeout: a blob slower than this counts as stalled
HTTP_REDIRECTS = 10
PARALLEL_BLOBS = 6
REFERRER_PAGES = 100  # of one list of what refers to a manifest
TAG_PAGES = 10_000  # of one list of a repository's tags
TAG_PAGE_SIZE = 8 * MIB
UPLOAD_MEMORY = 1 * MIB  # a blob up to this is held until the registry has it, so that it can be sent again
UPLOAD_CHUNK = 8 * MIB  # of a blob, where the registry wants it in parts
UPLOAD_CHUNK_MAX = 64 * MIB  # a registry that wants larger ones is reported
COPY_MANIFESTS = 2000  # manifests and indexes of one copy, attachments included
COPY_MANIFEST_BYTES = 64 * MIB  # of all of them together
ATTACHMENT_DEPTH = 4  # what refers to what refers to ... an image
REFERRER_UPDATES = 8  # attempts at adding to a fallback index that others change at the same time

# Containers
STOP_GRACE = 10  # seconds between SIGTERM and SIGKILL where nobody said otherwise
LOG_SIZE = 10 * MIB  # a container's log file is rotated beyond this
LOG_FILES = 5  # kept per container, the current one included
LOG_LINE = 16 * KIB  # conmon splits longer lines into partial records
EXEC_OUTPUT = 16 * MIB  # captured output of one synchronous exec
PIDS_PER_CONTAINER = 32_768  # where no limit was declared
CONTAINERS_PER_POD = 64
IMAGE_VOLUMES = 256  # folders that an image's config wants made
SHM_SIZE = 64 * MIB  # /dev/shm of a pod
POD_FILES = 4 * MIB  # /etc/hosts, /etc/resolv.conf and /etc/hostname of a pod together, whoever writes them
EXIT_RECORD = 5.0  # conmon writes the exit code this soon after the last process is gone, or never
KILL_WAIT = 10.0  # from SIGKILL to the end of every process
CHECKPOINT_TIMEOUT = 120.0  # of a container's memory to files
CDI_FILES = 256  # descriptions of devices in one folder
CDI_FILE_SIZE = 4 * MIB
CDI_ENTRIES = 4096  # devices of one file, or changes that a container's devices ask for
COPY_ENTRIES = 2_000_000  # files in one `cp`

# Supervisor
BACKOFF_FIRST = 10.0  # CrashLoopBackOff as the kubelet has it: 10 s, doubled up to 300 s ...
BACKOFF_MAX = 300.0
BACKOFF_RESET = 600.0  # ... and forgotten after ten minutes of running well
REPLICAS = 500
SUPERVISOR_POLL = 30.0  # exits come as events; this look is for what no event told
SUPERVISOR_IDLE = 20.0  # one started on demand ends after so long with nothing declared
SUPERVISOR_START = 20.0  # until one that was started answers
SUPERVISOR_RETRY = 2.0  # after a failure of Orlop's own (a lower layer's error), doubled like a back-off
SUPERVISOR_LOOK = 5.0  # a request waits so long until every pod was looked at once
SUPERVISOR_THREADS = 64  # blocking calls (exec probes, stops) at the same time
SUPERVISOR_LOG = 4 * MIB  # supervise.log is begun anew beyond this
LOG_CHECK = 2.0  # between two looks at the sizes of containers' logs
CONTROL_LINE = 1 * MIB  # one request or answer on the supervisor's socket
PROBE_HEADERS = 64 * KIB
PROBE_BODY = 10 * KIB  # read of an answer, as the kubelet does
PROBE_MESSAGE = 500  # characters kept of what a probe or hook said
PROBE_EXEC_MARGIN = 5.0  # until the runtime has killed a command that took too long
HOOK_TIMEOUT = 600.0  # a postStart hook: Kubernetes waits for ever, a node that shuts down cannot
STOP_LEAST = 2.0  # for the stop signal after a preStop hook that used up the grace period

# Plans
PLAN_HISTORY = 100  # finished plans kept in a journal
PLAN_PARALLEL = 8  # steps of one plan at the same time

# The CRI daemon
CRI_MESSAGE = 16 * MIB  # one request or answer, as the kubelet has it
CRI_REQUESTS = 2048  # under way at the same time; more are refused at once (RESOURCE_EXHAUSTED)
CRI_QUERY_THREADS = 8  # lists and statuses, which must not queue behind slow work
CRI_WORKER_THREADS = 256  # what makes, changes and removes
CRI_STOP_THREADS = 768  # each waits for its container's end, or its time of grace; more are refused
CRI_EXEC_THREADS = 512  # each waits for its command, which may never end; more are refused
CRI_LONGEST = 1_000_000  # seconds; a time of grace or of an exec beyond it (eleven days) is cut to it
CRI_EXEC_OUTPUT = CRI_MESSAGE - 64 * KIB  # of one ExecSync, both streams: its answer is one message
CRI_PULLS = 5  # images pulled at the same time; more wait their turn
CRI_WORDS = 512 * KIB  # characters of an object's labels, or annotations: the API server takes half of it
CRI_LIST_SLACK = 16  # bytes that an item of a list costs beside its own
CRI_BATCH = 200  # items in one message of a stream of lists
CRI_ERROR = 1024  # characters of a refusal's text: gRPC clients take 16 KiB of it, three or more bytes each
CRI_IMAGE_ANNOTATIONS = 4 * KIB  # of one image, in answers about images
CRI_EVENTS = 1000  # waiting for one subscriber; one that is slower is cut off
CRI_DISK_AGE = 10.0  # seconds that the count of what a container wrote may be old
CRI_SHUTDOWN = 10.0  # requests under way may take this long when the daemon ends

# NRI plugins
NRI_MESSAGE = 4 * MIB  # one call's request or answer: ttrpc's own bound
NRI_CALLS = 16  # of one plugin, under way at the same time
NRI_PLUGINS = 64  # connected or connecting at the same time
NRI_UPDATES = 10_000  # of other containers, in one answer of a plugin
NRI_UPDATE_WAIT = 2.0  # a request waits so long for the updates of others that a plugin wants with it
NRI_SHUTDOWN = 2.0  # for a plugin to take leave, then for its process to end
NRI_WAIT = 120.0  # a request waits so long for all plugins together, each with its own time
NRI_CONFIG_SIZE = 1 * MIB  # the configuration that a plugin is given

# Streaming (exec, attach and port-forward of the CRI)
STREAM_TOKENS = 1000  # URLs handed out and not yet used
STREAM_TOKEN_LIFE = 60.0  # of an unused one
STREAM_CONNECTIONS = 1000  # clients at the same time
STREAM_REQUEST = 64 * KIB  # request line and headers
STREAM_REQUEST_TIME = 10.0  # for them to arrive, TLS handshake likewise
STREAM_CREATION = 30.0  # for the client to open the streams that it asked for
STREAM_IDLE = 4 * 3600.0  # without a byte in either direction, as the kubelet has it
STREAM_LINGER = 5.0  # for the other side's farewell, and for what it sent before it left to be taken
STREAM_LOOK = 2.0  # between two looks whether a client that is held up has left
STREAM_BUFFER = 1 * MIB  # bytes of one stream that wait for whoever takes them
STREAM_CHUNK = 64 * KIB  # read and written at once
STREAM_RESIZE = 4 * KIB  # of JSON that does not end
STREAM_SIZE = 0.2  # a terminal's process waits so long for its client to tell the size
STREAM_EXEC_GRACE = 10.0  # for an exec'd process to end by itself when its client has gone
STREAM_THREADS = 16  # blocking calls of the streaming server at the same time
SPDY_STREAMS = 1024  # open at the same time in one connection
SPDY_CONTROL = 64 * KIB  # one control frame
SPDY_HEADERS = 64 * KIB  # one header block, unpacked

# The CRI daemon and its operators
COLLECT_INTERVAL = 300.0  # between two looks for what interrupted work left
COLLECT_PATIENCE = 10.0  # a look waits so long for a moment without requests
LAYER_MOUNTS = 1024  # EROFS layers that stay mounted; more, and those that are mounted longest go
COLLECT_LAYER_AGE = 3600.0  # layers and blobs of an interrupted pull are kept so long for the next one
METRICS_CONNECTIONS = 32  # at the same time
METRICS_REQUEST = 16 * KIB  # request line and headers
METRICS_TIME = 10.0  # for a request to arrive, and for its answer to be taken
TRACE_QUEUE = 2048  # spans that wait for the collector; more are dropped
TRACE_FLUSH = 2.0  # for the last spans, when the daemon ends
RELAY_CONNECTIONS = 1024  # through a socket that systemd passed
RELAY_BUFFER = 256 * KIB  # of one of them, in each direction

# Builds
BUILD_STAGES = 1000  # of one Containerfile
BUILD_PARALLEL = 4  # steps of independent stages at the same time
BUILD_OUTPUT_KEPT = 64 * KIB  # of a step's last words, for its error
BUILD_CACHE_TOUCH = 3600.0  # seconds between two notes that a step was used
SECRET_SIZE = 500 * KIB  # one secret of a build, as BuildKit has it
SECRETS_PER_RUN = 10
CACHE_ENTRIES = 10_000  # steps of an exported build cache
BOOTSTRAP_TIMEOUT = 3600.0  # a distribution's first packages
CONTAINERFILE_SIZE = 4 * MIB  # one Containerfile, here-documents included
CONTAINERFILE_INSTRUCTIONS = 10_000
EXPANDED_SIZE = 1 * MIB  # characters that one word of a Containerfile may expand to
EXPANSION_DEPTH = 64  # substitutions within substitutions
EXPANSION_PATTERN = 8 * KIB  # characters of a value that ${a#pattern} and its like look through
IGNORE_FILE_SIZE = 1 * MIB  # .containerignore
IGNORE_PATTERNS = 10_000
CONTEXT_ENTRIES = 2_000_000  # files of one context
ADD_SIZE = 16 * GIB  # of one file that ADD downloads
ADD_TIMEOUT = 3600.0  # of one git source

# Our own registry (orlop registry serve)
REGISTRY_CONNECTIONS = 256  # clients at the same time; more are told to come again
REGISTRY_HEADERS = 32 * KIB  # request line and headers
REGISTRY_HEADERS_TIME = 15.0  # for them to arrive, and for a TLS handshake
REGISTRY_IDLE = 75.0  # a connection without a request
REGISTRY_BODY_TIME = 60.0  # for the next REGISTRY_BODY_PIECE of a body, either way
REGISTRY_BODY_PIECE = 64 * KIB
REGISTRY_BUFFER = 1 * MIB  # of a body that came faster than the disk takes it
REGISTRY_SEND = 4 * MIB  # of a blob, in one go; REGISTRY_BODY_TIME for each
REGISTRY_BLOB = 256 * GIB  # the largest blob that is taken
REGISTRY_NAME = 255  # characters of a repository's name
REGISTRY_TAGS = 100  # of one manifest, in one request
REGISTRY_PAGE = 10_000  # names in one answer; a Link leads to the rest
REGISTRY_REFERRERS = 3 * MIB  # one page of referrers; clients take MANIFEST_SIZE
REGISTRY_GRACE = 24 * 3600.0  # a blob that no manifest names (yet) stays so long after its last use
REGISTRY_COLLECT = 900.0  # between two looks for what may go
REGISTRY_SHUTDOWN = 30.0  # requests under way may take this long when the server ends
REGISTRY_THREADS = 32  # blocking calls at the same time
REGISTRY_STATES = 1024  # uploads whose digest so far is remembered; of others the file is read again
REGISTRY_UPLOAD_WAIT = 5.0  # for another request of the same upload to end
REGISTRY_USERS_SIZE = 1 * MIB  # a file of users or of access rules
REGISTRY_PASSWORDS = 256  # right answers of the last REGISTRY_PASSWORD_TIME seconds that are remembered
REGISTRY_PASSWORD_TIME = 300.0
