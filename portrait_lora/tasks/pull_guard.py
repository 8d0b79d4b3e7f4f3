"""The guard's classifiers onto this machine: one pinned commit, every byte as the hub states it."""

from __future__ import annotations

import shutil

from portrait_lora import manifest, replacing
from portrait_lora.errors import ArtifactError
from portrait_lora.hub.hub import Hub
from portrait_lora.hub.lock import LockedFile, LockedModel
from portrait_lora.rights.guard_models import DIGESTS, GuardModel, home


def install(model: GuardModel, hub: Hub) -> list[LockedModel]:
    """Fetch the pinned commit into a folder of its own; returns what to lock.

    Raises what `Hub.fetch` does, and `ArtifactError` when the hub answers with another commit.
    """
    whole = hub.resolve(model.repo, model.commit)
    if whole.commit != model.commit:
        raise ArtifactError(
            "the hub answers with another commit", where=model.repo, got=whole.commit, needed=model.commit
        )
    snapshot = whole.only(model.files)
    fetched, digests = hub.fetch(snapshot, label=model.name)
    top = manifest.make_folder(home())
    replacing.clean_leftovers(top)
    with replacing.temporary_folder(top, model.name) as temporary:
        for name in model.files:
            shutil.copyfile(fetched / name, temporary / name)
        manifest.write_json_atomic(temporary / DIGESTS, {name: digests[name] for name in model.files})
        replacing.replace_folder(temporary, top / model.name)
    files = {file.path: LockedFile(digests[file.path], file.size) for file in snapshot.files}
    return [LockedModel(model.repo, model.commit, model.commit, files)]
