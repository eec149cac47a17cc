"""An export's folder on the Hugging Face hub: only when it was named, and private until its owner says otherwise."""

from __future__ import annotations

from pathlib import Path

from pipeline.errors import StageFailed, UserError, first_line


def check_name(name: str) -> None:
    """UserError unless it is ORG/NAME, before hours of work are done for it."""
    from huggingface_hub.utils import HFValidationError, validate_repo_id

    try:
        validate_repo_id(name)
        if name.count("/") != 1:
            raise HFValidationError("an owner and a name are needed")
    except HFValidationError as error:
        raise UserError(
            f"is no name of a repository: {first_line(error)}", where=f"--push {name}", remedy="give ORG/NAME"
        ) from error


def push(folder: Path, name: str) -> str:
    """Upload it; the commit's address. StageFailed where the hub cannot be reached or takes nothing from us."""
    from huggingface_hub import HfApi

    hub = HfApi()
    try:
        hub.create_repo(name, private=True, exist_ok=True)
        done = hub.upload_folder(folder_path=folder, repo_id=name, commit_message="Written by posttune export")
    except Exception as error:  # of a network, a server and a library, each with kinds of its own
        raise StageFailed(
            f"was not pushed: {first_line(error)}",
            where=f"--push {name}",
            remedy=f"the export is whole in {folder}: hf auth login, then hf upload {name} {folder}",
        ) from error
    return str(done.commit_url)
