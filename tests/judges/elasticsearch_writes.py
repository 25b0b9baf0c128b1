"""Writes documents with Elastic's own client: elasticsearch_writes.py PACKAGE URL ID:KEY SERVICE TIME."""
import importlib
import os
import subprocess
import sys

# Version 8 of the client needs an older transport than version 9, so it has a folder of its own.
EIGHT = "elasticsearch8==8.19.3"

package, url, key, service, time = sys.argv[1:]
if package == "elasticsearch8":
    folder = os.path.join(sys.prefix, EIGHT)
    if not os.path.exists(folder):
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", EIGHT]
        subprocess.run([*pip, "--target", folder + ".new"], check=True)
        os.rename(folder + ".new", folder)
    sys.path.insert(0, folder)
client_module = importlib.import_module(package)
helpers = importlib.import_module(package + ".helpers")

client = client_module.Elasticsearch(url, api_key=tuple(key.split(":")), request_timeout=20)
assert client.ping()
assert client.info()["version"]["build_flavor"] == "default"


def document(number):
    return {
        "@timestamp": time,
        "service": {"name": service},
        "log": {"level": "error" if number % 10 == 0 else "info"},
        "event": {"duration": 5_000_000},
        "message": "number %d" % number,
    }


def actions(op_type):
    return [{"_op_type": op_type, "_index": "logs-app", "_source": document(n)} for n in range(500)]


written, errors = helpers.bulk(client, actions("index"))
assert errors == []
streamed = sum(ok for ok, _ in helpers.streaming_bulk(client, actions("create"), chunk_size=100))
try:
    helpers.bulk(client, [{"_op_type": "create", "_index": "logs-app", "_source": {"@timestamp": "x"}}])
    refused = []
except helpers.BulkIndexError as error:
    refused = error.errors
assert refused[0]["create"]["status"] == 400, refused
one = client.index(index="logs-app", document=document(1), refresh=True)

# The same key as user and password; a wrong one is refused.
wrong = client_module.Elasticsearch(url, basic_auth=("id", "guessed"))
try:
    wrong.index(index="logs-app", document=document(1))
    sys.exit("a wrong password was accepted")
except client_module.AuthenticationException:
    pass
basic = client_module.Elasticsearch(url, basic_auth=tuple(key.split(":")))
basic.index(index="logs-app", document=document(1))
print("bulk", written, "streaming", streamed, "refused", len(refused), "document", one["result"], "basic 1")
