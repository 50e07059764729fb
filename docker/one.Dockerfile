# Server and gateway in one container, for platforms that run one and ask one port (docs/platforms.md),
# from the repository root:
#   docker build -f docker/one.Dockerfile -t countersign-one .
#   docker run --rm --shm-size=1g -p 127.0.0.1:8080:8080 countersign-one
# Whoever reaches the port may ask: the platform before it knows its callers.
ARG BASE=docker.io/library/python:3.11-slim-bookworm

FROM ${BASE} AS build
RUN apt-get update \
 && apt-get install -y --no-install-recommends binutils libblas64-dev liblapack64-dev \
 && rm -rf /var/lib/apt/lists/*
COPY requirements/build.lock requirements/serve.lock requirements/triton.lock /tmp/
RUN python3 -m venv /opt/venv \
 && cd /tmp \
 && for lock in build serve triton; do \
      /opt/venv/bin/pip install --no-cache-dir --no-compile --no-deps --no-build-isolation \
        --require-hashes -r $lock.lock || exit 1; \
    done
COPY docker/trim.py /tmp/
# the gateway lays forms over pages by OpenCV's linear algebra, which stays whole
RUN python3 /tmp/trim.py /opt/venv/lib/python3*/site-packages --keep opencv_python_headless.libs \
 && rm /opt/venv/bin/pip*
COPY requirements/gateway.lock /tmp/
COPY client /tmp/client
RUN python3 -m venv /opt/build \
 && cd /tmp \
 && /opt/build/bin/pip install --no-cache-dir --no-deps --require-hashes -r build.lock \
 && /opt/build/bin/pip wheel --no-deps --no-build-isolation -w /tmp /tmp/client \
 && /opt/build/bin/pip --python /opt/venv/bin/python install --no-cache-dir --no-compile --no-deps \
      --require-hashes -r gateway.lock \
 && /opt/build/bin/pip --python /opt/venv/bin/python install --no-cache-dir --no-compile --no-deps \
      /tmp/countersign_client-*.whl \
 && find /opt/venv -type d -name tests -prune -exec rm -r {} +
COPY backends /countersign/backends
COPY server /countersign/server
COPY gateway /countersign/gateway
COPY model_repository /countersign/model_repository
RUN chmod -R a+rX /countersign && ln -s /countersign/server/countersign-keys /opt/venv/bin/

FROM ${BASE}
# without a volume of its own it keeps no log of what it answered
ENV PATH=/opt/venv/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 COUNTERSIGN_HOST=0.0.0.0 \
    COUNTERSIGN_ALLOW_ANYONE=1 COUNTERSIGN_GATEWAY_LOG=0
WORKDIR /countersign
COPY --from=build /opt/venv /opt/venv
COPY --from=build /countersign /countersign
USER 1000:1000
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=30s --start-period=2m CMD python -m gateway ready
ENTRYPOINT ["python", "-m", "server"]
