"""Serves the gRPC of Qdrant over the in-memory mode of the vendor's own client, for tests.

No package registry has the program of the server. This one has the vendor's messages, conversions, filters and scores,
but neither its index nor its disk: what depends on those is tested only against a real server.

    python3 qdrant_server.py 127.0.0.1:6334 [--api-key KEY] [--tls 127.0.0.1:6335 --certificate FILE --key FILE]

One thread serves, so calls never overlap. What is not here replies UNIMPLEMENTED. Only the TLS port demands the key.
"""

import argparse
import functools
import logging
import sys
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any

import grpc
from qdrant_client import QdrantClient, models
from qdrant_client import grpc as pb
from qdrant_client.conversions.conversion import GrpcToRest, RestToGrpc

# Bytes of one message, as much as the real server takes.
MESSAGE_BYTES_MAX = 64 << 20
# Points of a page without a limit, as the real server has it.
PAGE_POINTS = 10
KEY_HEADER = "api-key"

warnings.filterwarnings("ignore", message="Payload indexes have no effect")
database = QdrantClient(":memory:")
# The in-memory mode has no indexes, so their descriptions are here.
indexes: dict[tuple[str, str], models.PayloadIndexInfo] = {}


def optional(message: Any, field: str, convert: Callable[[Any], Any] = lambda value: value, default: Any = None) -> Any:
    """Return a field of a message, converted, or the default if it is not set."""
    return convert(getattr(message, field)) if message.HasField(field) else default


def served(servicer: type) -> type:
    """Wrap each call: the errors of the in-memory mode become the status codes of the real server."""

    def wrap(call: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(call)
        def reply(self: Any, request: Any, context: grpc.ServicerContext) -> Any:
            try:
                return call(self, request)
            except Exception as error:
                text, code = str(error), grpc.StatusCode.INVALID_ARGUMENT
                if "not found" in text:
                    code = grpc.StatusCode.NOT_FOUND
                elif "already exists" in text:
                    code = grpc.StatusCode.ALREADY_EXISTS
                elif not isinstance(error, ValueError):
                    logging.exception(call.__name__)
                    code = grpc.StatusCode.INTERNAL
            return context.abort(code, text)

        return reply

    for name, call in list(vars(servicer).items()):
        if name[0].isupper():
            setattr(servicer, name, wrap(call))
    return servicer


def completed(_result: Any = None) -> pb.PointsOperationResponse:
    """Return the reply to a write."""
    return pb.PointsOperationResponse(result=pb.UpdateResult(operation_id=0, status=pb.UpdateStatus.Completed))


def record(found: models.Record) -> pb.RetrievedPoint:
    """Convert a point. The conversion does not take one without a payload."""
    return RestToGrpc.convert_record(found.model_copy(update={"payload": found.payload or {}}))


def read_options(request: Any) -> dict[str, Any]:
    """Return which parts of a point are read."""
    return {
        "with_payload": optional(request, "with_payload", GrpcToRest.convert_with_payload_selector, False),
        "with_vectors": optional(request, "with_vectors", GrpcToRest.convert_with_vectors_selector, False),
    }


@served
class Health(pb.QdrantServicer):
    """The health of the server."""

    def HealthCheck(self, _request: Any) -> pb.HealthCheckReply:  # noqa: N802 - the name is that of the service
        """Return the name of the server."""
        return pb.HealthCheckReply(title="qdrant - vector search engine", version=version("qdrant-client"))


@served
class Collections(pb.CollectionsServicer):
    """The collections."""

    def Create(self, request: Any) -> pb.CollectionOperationResponse:  # noqa: N802
        """Create a collection."""
        database.create_collection(
            request.collection_name,
            vectors_config=optional(request, "vectors_config", GrpcToRest.convert_vectors_config),
        )
        return pb.CollectionOperationResponse(result=True)

    def Delete(self, request: Any) -> pb.CollectionOperationResponse:  # noqa: N802
        """Delete a collection with its indexes."""
        is_found = database.delete_collection(request.collection_name)
        for key in [key for key in indexes if key[0] == request.collection_name]:
            del indexes[key]
        return pb.CollectionOperationResponse(result=is_found)

    def CollectionExists(self, request: Any) -> pb.CollectionExistsResponse:  # noqa: N802
        """Return whether a collection exists."""
        exists = database.collection_exists(request.collection_name)
        return pb.CollectionExistsResponse(result=pb.CollectionExists(exists=exists))

    def List(self, _request: Any) -> pb.ListCollectionsResponse:  # noqa: N802
        """List the collections."""
        collections = database.get_collections().collections
        return pb.ListCollectionsResponse(
            collections=[RestToGrpc.convert_collection_description(collection) for collection in collections]
        )

    def Get(self, request: Any) -> pb.GetCollectionInfoResponse:  # noqa: N802
        """Describe a collection."""
        name = request.collection_name
        info = database.get_collection(name)
        info.payload_schema = {field: index for (collection, field), index in indexes.items() if collection == name}
        return pb.GetCollectionInfoResponse(result=RestToGrpc.convert_collection_info(info))


@served
class Points(pb.PointsServicer):
    """The points of collections."""

    def Upsert(self, request: Any) -> pb.PointsOperationResponse:  # noqa: N802
        """Insert or replace points."""
        points = [GrpcToRest.convert_point_struct(point) for point in request.points]
        return completed(database.upsert(request.collection_name, points))

    def Delete(self, request: Any) -> pb.PointsOperationResponse:  # noqa: N802
        """Delete points by their ids or by a filter."""
        selector = GrpcToRest.convert_points_selector(request.points)
        return completed(database.delete(request.collection_name, selector))

    def CreateFieldIndex(self, request: Any) -> pb.PointsOperationResponse:  # noqa: N802
        """Remember that there is an index."""
        kind = pb.FieldType.Name(request.field_type).removeprefix("FieldType").lower()
        database.create_payload_index(request.collection_name, request.field_name, models.PayloadSchemaType(kind))
        indexes[request.collection_name, request.field_name] = models.PayloadIndexInfo(
            data_type=kind,
            points=0,
            params=optional(request, "field_index_params", GrpcToRest.convert_payload_schema_params),
        )
        return completed()

    def Count(self, request: Any) -> pb.CountResponse:  # noqa: N802
        """Count points."""
        count = database.count(request.collection_name, optional(request, "filter", GrpcToRest.convert_filter)).count
        return pb.CountResponse(result=pb.CountResult(count=count))

    def Scroll(self, request: Any) -> pb.ScrollResponse:  # noqa: N802
        """List points, page by page or in the order of a field."""
        found, after = database.scroll(
            request.collection_name,
            scroll_filter=optional(request, "filter", GrpcToRest.convert_filter),
            limit=optional(request, "limit", default=PAGE_POINTS),
            offset=optional(request, "offset", GrpcToRest.convert_point_id),
            order_by=optional(request, "order_by", GrpcToRest.convert_order_by),
            **read_options(request),
        )
        next_page = None if after is None else RestToGrpc.convert_extended_point_id(after)
        return pb.ScrollResponse(result=[record(point) for point in found], next_page_offset=next_page)

    def Query(self, request: Any) -> pb.QueryResponse:  # noqa: N802
        """Find the nearest points."""
        found = database.query_points(
            request.collection_name,
            query=optional(request, "query", GrpcToRest.convert_query),
            query_filter=optional(request, "filter", GrpcToRest.convert_filter),
            search_params=optional(request, "params", GrpcToRest.convert_search_params),
            score_threshold=optional(request, "score_threshold"),
            limit=optional(request, "limit", default=PAGE_POINTS),
            **read_options(request),
        ).points
        return pb.QueryResponse(result=[RestToGrpc.convert_scored_point(point) for point in found])


class KeyCheck(grpc.ServerInterceptor):
    """Refuses calls without the key, as the real server does."""

    def __init__(self, key: str) -> None:
        """Demand this key."""
        self.key = key

        def refuse(_request: Any, context: grpc.ServicerContext) -> None:
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "Must provide an API key or an Authorization bearer token")

        self.refusal = grpc.unary_unary_rpc_method_handler(refuse)

    def intercept_service(self, continuation: Callable[..., Any], details: grpc.HandlerCallDetails) -> Any:
        """Let a call with the key pass."""
        metadata = dict(details.invocation_metadata)
        return continuation(details) if metadata.get(KEY_HEADER) == self.key else self.refusal


def new_server(executor: ThreadPoolExecutor, interceptors: tuple[grpc.ServerInterceptor, ...]) -> grpc.Server:
    """Create a server of the services."""
    options = [("grpc.max_receive_message_length", MESSAGE_BYTES_MAX), ("grpc.so_reuseport", 0)]
    server = grpc.server(executor, interceptors=interceptors, options=options)
    pb.add_QdrantServicer_to_server(Health(), server)
    pb.add_CollectionsServicer_to_server(Collections(), server)
    pb.add_PointsServicer_to_server(Points(), server)
    return server


def main() -> None:
    """Serve until the process is ended."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("address")
    parser.add_argument("--api-key", default="")
    parser.add_argument("--tls", default="")
    parser.add_argument("--certificate", type=Path)
    parser.add_argument("--key", type=Path)
    arguments = parser.parse_args()
    executor = ThreadPoolExecutor(1)
    servers = [new_server(executor, ())]
    servers[0].add_insecure_port(arguments.address)
    if arguments.tls:
        pair = (arguments.key.read_bytes(), arguments.certificate.read_bytes())
        servers.append(new_server(executor, (KeyCheck(arguments.api_key),)))
        servers[1].add_secure_port(arguments.tls, grpc.ssl_server_credentials([pair]))
    for server in servers:
        server.start()
    for server in servers:
        server.wait_for_termination()


if __name__ == "__main__":
    sys.exit(main())
