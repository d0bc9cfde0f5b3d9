"""Workspaces and branches: fork, diff, commit, discard, read files."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from hub.gateway.routes.access import Id, ServicesOf
from schemas.branch import Branch, BranchMode, BranchState, CommitResult, MergePlan, OnConflict, Resolutions, Workspace
from schemas.keyvalue import KeyChange
from schemas.tree import EMPTY_TREE, Change, FileName

router = APIRouter(tags=["workspaces"])


class WorkspaceRequest(BaseModel):
    name: str
    tree: str = EMPTY_TREE
    metadata: dict[str, Any] = Field(default_factory=dict)
    conversation: str = Field(default="", description="becomes that of the workspace and its branches")


class ForkRequest(BaseModel):
    names: list[str] = Field(min_length=1, max_length=1000)
    files: dict[FileName, Any] = Field(default_factory=dict, description='path → text | {"base64": …} | null to delete')
    group: str = ""
    mode: BranchMode = "join"
    metadata: dict[str, Any] = Field(default_factory=dict)


class TagRequest(BaseModel):
    name: str
    branch: str


class UntagRequest(BaseModel):
    name: str


class PlanRequest(BaseModel):
    on_conflict: OnConflict = "fail"
    resolutions: Resolutions = Field(default_factory=dict, description="path of a conflict → path → entry or null")


class CommitRequest(PlanRequest):
    ours: str = Field(default="", description="with `theirs`: commit only if these are the heads, as the plan said")
    theirs: str = ""
    our_keys: str = Field(default="", description="with `their_keys`: nor other key-values than the plan's")
    their_keys: str = ""


class DiscardRequest(BaseModel):
    state: Literal["discarded", "superseded"] = "discarded"


@router.get("/workspaces")
async def workspaces(services: ServicesOf) -> list[Workspace]:
    found: list[Workspace] = await services.workspaces.workspace_list()
    return found


@router.post("/workspaces", status_code=201)
async def create(request: WorkspaceRequest, services: ServicesOf) -> Workspace:
    made: Workspace = await services.workspaces.workspace_create(
        request.name, tree=request.tree, metadata=request.metadata, conversation=request.conversation
    )
    return made


@router.get("/workspaces/{workspace}")
async def workspace(workspace: Id, services: ServicesOf) -> Workspace:
    found: Workspace = await services.workspaces.workspace_get(workspace)
    return found


@router.post("/workspaces/{workspace}/tag")
async def tag(workspace: Id, request: TagRequest, services: ServicesOf) -> Workspace:
    """Name the present files of a branch, for good; 409 when the name is given to others."""
    tagged: Workspace = await services.workspaces.workspace_tag(workspace, request.name, request.branch)
    return tagged


@router.post("/workspaces/{workspace}/untag")
async def untag(workspace: Id, request: UntagRequest, services: ServicesOf) -> Workspace:
    left: Workspace = await services.workspaces.workspace_untag(workspace, request.name)
    return left


@router.get("/branches")
async def branches(
    services: ServicesOf,
    workspace: str | None = None,
    state: BranchState | None = None,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 1000,
) -> list[Branch]:
    found: list[Branch] = await services.workspaces.branch_list(workspace=workspace, state=state, limit=limit)
    return found


@router.get("/branches/{branch}")
async def branch(branch: Id, services: ServicesOf) -> Branch:
    found: Branch = await services.workspaces.branch_get(branch)
    return found


@router.post("/branches/{branch}/fork", status_code=201)
async def fork(branch: Id, request: ForkRequest, services: ServicesOf) -> list[Branch]:
    """N branches from one state in one call; ``files`` are applied to each."""
    made: list[Branch] = await services.workspaces.branch_fork(
        branch,
        names=request.names,
        files=request.files,
        group=request.group,
        metadata=request.metadata,
        mode=request.mode,
    )
    return made


@router.get("/branches/{branch}/diff")
async def diff(branch: Id, services: ServicesOf, content: bool = False) -> list[dict[str, Any]]:
    """What the branch changed since its fork; with ``content`` each text file carries a unified diff as ``text``."""
    found: list[dict[str, Any]] = await services.workspaces.branch_diff(branch, content=content)
    return found


@router.get("/branches/{branch}/keyvalues")
async def key_changes(branch: Id, services: ServicesOf) -> list[KeyChange]:
    """Which key-values the branch changed since its fork. What it has is at ``/keyvalues?branch=``."""
    found: list[KeyChange] = await services.keyvalues.kv_changes(branch)
    return found


@router.get("/branches/{branch}/compare")
async def compare(branch: Id, to: str, services: ServicesOf) -> list[dict[str, Any]]:
    """What makes its files those of ``to``, a branch or the hash of a stored tree."""
    found: list[Change] = await services.workspaces.branch_compare(branch, to)
    return [change.wire() for change in found]


@router.get("/branches/{branch}/log")
async def log(branch: Id, services: ServicesOf, limit: Annotated[int, Query(ge=1, le=10_000)] = 100) -> list[Branch]:
    """The branches that were committed into it, the last first."""
    found: list[Branch] = await services.workspaces.branch_log(branch, limit)
    return found


@router.post("/branches/{branch}/rebase")
async def rebase(branch: Id, services: ServicesOf, request: PlanRequest | None = None) -> Branch:
    """Put its changes on top of what its parent is now; 409 with the paths when both changed them."""
    asked = request or PlanRequest()
    moved: Branch = await services.workspaces.branch_rebase(
        branch, on_conflict=asked.on_conflict, resolutions=asked.resolutions
    )
    return moved


@router.post("/branches/{branch}/commit")
async def commit(branch: Id, services: ServicesOf, request: CommitRequest | None = None) -> CommitResult:
    """409 with the paths when both sides changed them; then nothing was written."""
    asked = request or CommitRequest()
    result: CommitResult = await services.workspaces.branch_commit(
        branch,
        on_conflict=asked.on_conflict,
        resolutions=asked.resolutions,
        ours=asked.ours,
        theirs=asked.theirs,
        our_keys=asked.our_keys,
        their_keys=asked.their_keys,
    )
    return result


@router.post("/branches/{branch}/plan")
async def plan(branch: Id, services: ServicesOf, request: PlanRequest | None = None) -> MergePlan:
    """What a commit would do at this moment: the merged tree, stored but not published, or all conflicts."""
    asked = request or PlanRequest()
    found: MergePlan = await services.workspaces.branch_plan(
        branch, on_conflict=asked.on_conflict, resolutions=asked.resolutions
    )
    return found


@router.post("/branches/{branch}/discard")
async def discard(branch: Id, services: ServicesOf, request: DiscardRequest | None = None) -> Branch:
    found: Branch = await services.workspaces.branch_discard(branch, state=request.state if request else "discarded")
    return found
