"""What Roboflow's own SDK asks before it speaks of devices: whose key this is, and what the workspace is called."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.security import HTTPAuthorizationCredentials
from starlette.responses import JSONResponse, Response

from firstlight_hub.api.description import documented
from firstlight_hub.api.parts import BEARER, QUERY, WhoCalls, get_caller
from firstlight_hub.model import Caller, Refusal

router = APIRouter()


async def _with_key(
    request: Request,
    in_header: Annotated[HTTPAuthorizationCredentials | None, Depends(BEARER)],
    in_query: Annotated[str | None, Depends(QUERY)],
) -> Caller:
    """Who calls. Without a key there is nothing here: any path of one word would else seem to be a workspace."""
    if in_header is None and not in_query:
        raise Refusal("not_found", "There is nothing at this address.")
    return await get_caller(request, in_header, in_query)


@router.post("/", **documented("Whose key is this", 200, "KeyOwner", 401))
def whose_key(caller: WhoCalls) -> Response:
    """The workspace of the key that is shown; the SDK asks before anything else."""
    return JSONResponse({"workspace": caller.workspace})


@router.get("/{workspace}", **documented("Get a workspace", 200, "WorkspaceInfo", 401, 403, 404))
def get_workspace(workspace: str, caller: Annotated[Caller, Depends(_with_key)]) -> Response:
    """The workspace's name, for any operator's key of it; a hub has no projects."""
    if caller.workspace != workspace:
        raise Refusal("not_found", "There is no such workspace for this key.")
    if caller.device_id is not None:
        raise Refusal("forbidden", "A device's key may only look at its own device.")
    return JSONResponse({"workspace": {"name": workspace, "url": workspace, "projects": []}})
