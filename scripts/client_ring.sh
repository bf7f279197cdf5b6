#!/usr/bin/env bash
# Real clients against three real nodes: kcat, confluent-kafka (Python) and Kafka's own Java tools, with and without groups. Records from
# 0 bytes to 5 MB, every codec, null keys and values, headers, fetches from inside a batch; wrong nodes asked, wrong directories refused.
#
#   scripts/client_ring.sh [PART OF A CASE'S NAME..]
#   TARGET=kafka scripts/client_ring.sh     the same clients against Apache Kafka
. "$(dirname "$0")/lib.sh"

need kcat
venv
kafka_jars
target_binaries
run_dir ring
RUN_DIR=$RUN_DIR exec "$PYTHON" "$SCRIPTS/rig/client_ring.py" "$@"
