"""What every request works on."""

from __future__ import annotations

from orlop.kit.value import dataclass
from orlop.registry.access import Access
from orlop.registry.settings import RegistrySettings
from orlop.registry.upload_files import Uploads
from orlop.store.repositories import Repositories
from orlop.store.store import Store


@dataclass(frozen=True)
class Context:
    store: Store
    repositories: Repositories
    uploads: Uploads
    access: Access
    settings: RegistrySettings
