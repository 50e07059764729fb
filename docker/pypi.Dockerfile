# countersign on the Triton from PyPI, from the repository root:
#   docker build -f docker/pypi.Dockerfile -t countersign .
#   docker run --rm --shm-size=1g -p 127.0.0.1:8000:8000 -p 127.0.0.1:8001:8001 \
#     -e COUNTERSIGN_ALLOW_ANYONE=1 countersign    # or -v keys.json:... -e COUNTERSIGN_KEYS=...
# Any base with Python 3.10 to 3.12, its shared library, venv and glibc >= 2.35 will do.
ARG BASE=docker.io/library/python:3.11-slim-bookworm

FROM ${BASE} AS build
RUN apt-get update \
 && apt-get install -y --no-install-recommends binutils libblas64-dev liblapack64-dev \
 && rm -rf /var/lib/apt/lists/*
COPY requirements/build.lock requirements/serve.lock requirements/triton.lock /tmp/
# pyvips comes as source alone, and is built with what build.lock has, not with the newest
RUN python3 -m venv /opt/venv \
 && cd /tmp \
 && for lock in build serve triton; do \
      /opt/venv/bin/pip install --no-cache-dir --no-compile --no-deps --no-build-isolation \
        --require-hashes -r $lock.lock || exit 1; \
    done
COPY docker/trim.py /tmp/
RUN python3 /tmp/trim.py /opt/venv/lib/python3*/site-packages && rm /opt/venv/bin/pip*
COPY backends /countersign/backends
COPY server /countersign/server
COPY model_repository /countersign/model_repository
# exported or checked out under a strict umask, they are still read by the image's user
RUN chmod -R a+rX /countersign && ln -s /countersign/server/countersign-* /opt/venv/bin/

FROM ${BASE}
ENV PATH=/opt/venv/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 COUNTERSIGN_HOST=0.0.0.0 \
    COUNTERSIGN_NO_GATEWAY=1
WORKDIR /countersign
COPY --from=build /opt/venv /opt/venv
COPY --from=build /countersign /countersign
USER 1000:1000
EXPOSE 8000 8001 8002
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=30s --start-period=2m CMD python -m server ready
ENTRYPOINT ["python", "-m", "server"]
