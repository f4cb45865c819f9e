"""THE table: every field of the objects that `play` takes (Kubernetes API v1.36), and what becomes of it.

    honoured   does what Kubernetes does
    harmless   has no effect here and a warning says so: what runs is the same without it
    refused    an error says so: without it something else would run

A row is of a structure, wherever that structure stands (a Container in `initContainers` too). What a harmless
or refused field contains is not looked into. `accepts` are values that mean what happens anyway: nothing is
said of them. What has no row is a typing error. docs/play.md is generated from here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from orlop.system.kube import model, volume_model
from orlop.system.kube.wire import Wire


@dataclass(frozen=True)
class Field:
    name: str
    kind: Literal["honoured", "harmless", "refused"]
    why: str = ""
    accepts: tuple[object, ...] = ()


def _honoured(names: str, note: str = "") -> Iterator[Field]:
    return (Field(name, "honoured", note) for name in names.split())


def _harmless(names: str, why: str, *accepts: object) -> Iterator[Field]:
    return (Field(name, "harmless", why, accepts) for name in names.split())


def _refused(names: str, why: str, *accepts: object) -> Iterator[Field]:
    return (Field(name, "refused", why, accepts) for name in names.split())


def _rows(*groups: Iterator[Field]) -> dict[str, Field]:
    return {field.name: field for group in groups for field in group}


_ONE_MACHINE = "there is one machine, nothing is scheduled"
_NO_CLUSTER = "there is no cluster with service accounts or Services"
_SERVER = "the API server keeps it"
_OTHER_STORAGE = "only local volumes exist here; use hostPath, emptyDir or persistentVolumeClaim"
_WINDOWS = "containers run on Linux"
_SELINUX = "SELinux labels are not set"

_OBJECT = (
    *_honoured("apiVersion kind metadata"),
    *_harmless("status", "it reports, it does not declare"),
)

TABLE: dict[type[Wire], dict[str, Field]] = {
    volume_model.Metadata: _rows(
        _honoured("name namespace labels annotations"),
        _refused("generateName", "`play` again must find the same object: give it a name"),
        _harmless(
            "selfLink uid resourceVersion generation creationTimestamp deletionTimestamp "
            "deletionGracePeriodSeconds ownerReferences finalizers managedFields",
            _SERVER,
        ),
    ),
    model.Pod: _rows(iter(_OBJECT), _honoured("spec")),
    model.PodSpec: _rows(
        _honoured("containers initContainers volumes restartPolicy terminationGracePeriodSeconds"),
        _honoured("activeDeadlineSeconds hostNetwork hostPID hostIPC shareProcessNamespace securityContext"),
        _honoured("hostname subdomain setHostnameAsFQDN hostnameOverride hostAliases dnsConfig resources"),
        _honoured("dnsPolicy", "there is no cluster's DNS: ClusterFirst is Default (a warning says so)"),
        _honoured("imagePullSecrets", "Secrets of type kubernetes.io/dockerconfigjson or dockercfg"),
        _harmless("serviceAccountName serviceAccount", _NO_CLUSTER, "default"),
        _harmless("automountServiceAccountToken", _NO_CLUSTER, False),
        _harmless("enableServiceLinks", _NO_CLUSTER, True, False),
        _harmless("nodeSelector nodeName affinity tolerations topologySpreadConstraints", _ONE_MACHINE),
        _harmless("schedulerName", _ONE_MACHINE, "default-scheduler"),
        _harmless("priorityClassName priority preemptionPolicy schedulingGroup", _ONE_MACHINE),
        _harmless("overhead", "nothing is scheduled, and no runtime class adds to a pod"),
        _harmless("readinessGates", "no controller sets such conditions"),
        _refused("schedulingGates", "nothing would ever open them"),
        _refused("ephemeralContainers", "they are added to running pods; use `orlop exec`"),
        _refused("runtimeClassName", "there are no runtime classes; the configuration chooses the runtime"),
        _refused("hostUsers", "pods have no user namespace of their own", True),
        _refused("os", _WINDOWS, {"name": "linux"}),
        _refused("resourceClaims", "there is no dynamic resource allocation"),
    ),
    model.Container: _rows(
        _honoured("name image command args workingDir ports envFrom env resources volumeMounts"),
        _honoured("livenessProbe readinessProbe startupProbe lifecycle terminationMessagePath"),
        _honoured("terminationMessagePolicy imagePullPolicy securityContext stdin stdinOnce tty"),
        _honoured("restartPolicy", "Always in an init container makes it a sidecar"),
        _honoured("restartPolicyRules"),
        _harmless("resizePolicy", "resources change with the pod's replacement"),
        _refused("volumeDevices", "there are no raw block volumes; use a hostPath of type BlockDevice"),
    ),
    model.ContainerPort: _rows(_honoured("name hostPort containerPort protocol hostIP")),
    model.EnvFrom: _rows(_honoured("prefix configMapRef secretRef")),
    model.ObjectRef: _rows(_honoured("name optional")),
    model.EnvVar: _rows(_honoured("name value valueFrom")),
    model.EnvSource: _rows(
        _honoured("fieldRef resourceFieldRef configMapKeyRef secretKeyRef"),
        _refused("fileKeyRef", "variables are not read from files of a volume"),
    ),
    model.KeyRef: _rows(_honoured("name key optional")),
    volume_model.FieldRef: _rows(_honoured("apiVersion fieldPath")),
    volume_model.ResourceFieldRef: _rows(_honoured("containerName resource divisor")),
    model.ResourceRequirements: _rows(
        _honoured(
            "limits requests",
            "cpu, memory, hugepages-<size>; ephemeral-storage gives a warning; pids (limits only) is Orlop's",
        ),
        _refused("claims", "there is no dynamic resource allocation"),
    ),
    model.RestartRule: _rows(_honoured("action exitCodes")),
    model.RestartRuleExitCodes: _rows(_honoured("operator values")),
    model.VolumeMount: _rows(
        _honoured("name readOnly mountPath subPath subPathExpr mountPropagation"),
        _honoured("recursiveReadOnly", "IfPossible is Disabled"),
    ),
    model.Probe: _rows(
        _honoured("exec httpGet tcpSocket grpc initialDelaySeconds timeoutSeconds periodSeconds"),
        _honoured("successThreshold failureThreshold terminationGracePeriodSeconds"),
    ),
    model.ExecAction: _rows(_honoured("command")),
    model.HTTPGetAction: _rows(_honoured("path port host scheme httpHeaders")),
    model.HTTPHeader: _rows(_honoured("name value")),
    model.TCPSocketAction: _rows(_honoured("port host")),
    model.GRPCAction: _rows(_honoured("port service")),
    model.Lifecycle: _rows(_honoured("postStart preStop stopSignal")),
    model.Handler: _rows(_honoured("exec httpGet tcpSocket sleep")),
    model.SleepAction: _rows(_honoured("seconds")),
    model.SecurityContext: _rows(
        _honoured("capabilities privileged runAsUser runAsGroup runAsNonRoot readOnlyRootFilesystem"),
        _honoured("allowPrivilegeEscalation procMount"),
        _honoured("seccompProfile", "none is the default profile, not Unconfined as with a kubelet"),
        _refused("seLinuxOptions", _SELINUX),
        _refused("windowsOptions", _WINDOWS),
        _honoured("appArmorProfile"),
    ),
    model.Capabilities: _rows(_honoured("add drop")),
    model.SeccompProfile: _rows(
        _honoured("type"),
        _honoured("localhostProfile", "a file below <root>/seccomp"),
    ),
    model.AppArmorProfile: _rows(
        _honoured("type", "Unconfined; RuntimeDefault gives a warning, Localhost is refused"),
        _refused("localhostProfile", "AppArmor profiles are not set"),
    ),
    model.PodSecurityContext: _rows(
        _honoured("runAsUser runAsGroup runAsNonRoot supplementalGroups fsGroup fsGroupChangePolicy"),
        _honoured("sysctls", "namespaced ones, as the kernel lets a pod's namespaces have them"),
        _honoured("supplementalGroupsPolicy"),
        _honoured("seccompProfile"),
        _refused("seLinuxOptions", _SELINUX),
        _harmless("seLinuxChangePolicy", _SELINUX),
        _refused("windowsOptions", _WINDOWS),
        _honoured("appArmorProfile"),
    ),
    model.Sysctl: _rows(_honoured("name value")),
    model.LocalObjectRef: _rows(_honoured("name")),
    model.HostAlias: _rows(_honoured("ip hostnames")),
    model.DNSConfig: _rows(_honoured("nameservers searches options")),
    model.DNSOption: _rows(_honoured("name value")),
    volume_model.Volume: _rows(
        _honoured("name emptyDir hostPath configMap secret downwardAPI persistentVolumeClaim projected"),
        _refused(
            "gcePersistentDisk awsElasticBlockStore gitRepo nfs iscsi glusterfs rbd flexVolume cinder cephfs "
            "flocker fc azureFile vsphereVolume quobyte azureDisk photonPersistentDisk portworxVolume "
            "scaleIO storageos csi",
            _OTHER_STORAGE,
        ),
        _refused("ephemeral", "there are no claims for one pod's life; use emptyDir"),
        _refused("image", "images are not mounted as volumes; use an init container"),
    ),
    volume_model.EmptyDir: _rows(
        _honoured("medium", "Memory is a tmpfs; HugePages is refused"),
        _honoured("sizeLimit", "enforced with medium Memory; else a warning says that it is not"),
    ),
    volume_model.HostPath: _rows(_honoured("path type")),
    volume_model.ConfigMapVolume: _rows(_honoured("name items defaultMode optional")),
    volume_model.SecretVolume: _rows(_honoured("secretName items defaultMode optional")),
    volume_model.KeyToPath: _rows(_honoured("key path mode")),
    volume_model.DownwardVolume: _rows(_honoured("items defaultMode")),
    volume_model.DownwardFile: _rows(_honoured("path fieldRef resourceFieldRef mode")),
    volume_model.ClaimVolume: _rows(_honoured("claimName readOnly")),
    volume_model.ProjectedVolume: _rows(_honoured("sources defaultMode")),
    volume_model.Projection: _rows(
        _honoured("configMap secret downwardAPI"),
        _refused("serviceAccountToken clusterTrustBundle podCertificate", "no cluster issues them"),
    ),
    volume_model.KeysProjection: _rows(_honoured("name items optional")),
    volume_model.DownwardProjection: _rows(_honoured("items")),
    # The other kinds
    model.Deployment: _rows(iter(_OBJECT), _honoured("spec")),
    model.DeploymentSpec: _rows(
        _honoured("replicas selector template"),
        _harmless("strategy", "pods that differ are replaced one by one"),
        _harmless("minReadySeconds revisionHistoryLimit progressDeadlineSeconds", "there are no roll-outs"),
        _refused("paused", "there are no roll-outs to pause", False),
    ),
    model.LabelSelector: _rows(_honoured("matchLabels matchExpressions")),
    model.LabelRequirement: _rows(_honoured("key operator values")),
    model.PodTemplate: _rows(_honoured("metadata spec")),
    volume_model.ConfigMap: _rows(_honoured("apiVersion kind metadata data binaryData immutable")),
    volume_model.Secret: _rows(_honoured("apiVersion kind metadata data stringData type immutable")),
    volume_model.PersistentVolumeClaim: _rows(iter(_OBJECT), _honoured("spec")),
    volume_model.ClaimSpec: _rows(
        _honoured("accessModes"),
        _honoured("resources", "the size is recorded, not enforced"),
        _honoured("volumeMode", "Filesystem; Block is refused"),
        _harmless("storageClassName volumeAttributesClassName", "every claim is a local volume"),
        _refused("selector volumeName dataSource dataSourceRef", "a claim is a new, empty local volume"),
    ),
    volume_model.ClaimResources: _rows(_honoured("limits requests")),
}

#: Kinds of objects that `play` passes over with a warning: without them the same runs.
HARMLESS_KINDS = {
    "Namespace": "a namespace is a part of names here",
    "ServiceAccount": _NO_CLUSTER,
}
