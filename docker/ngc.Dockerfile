# countersign on NVIDIA's Triton with its native OpenVINO backend, from the repository root:
#   docker build -f docker/ngc.Dockerfile -t countersign:ngc .
# Of NVIDIA's image, which also serves GPUs, it takes the server, two backends and what these link.
FROM nvcr.io/nvidia/tritonserver:26.09-py3 AS full
WORKDIR /opt/tritonserver
RUN mkdir libraries \
 && ldd bin/tritonserver backends/python/* backends/openvino/* 2>/dev/null \
    | awk '$3 ~ "^/(usr|lib)" { print $3 }' | sort -u \
    | grep -Ev '/lib(c|m|dl|rt|resolv|pthread|gcc_s|stdc\+\+|python3)\.' | xargs cp -Lt libraries

# the release of Ubuntu, and so the Python, that NVIDIA's image has
FROM docker.io/library/ubuntu:24.04
RUN apt-get update \
 && apt-get install -y --no-install-recommends libpython3.12t64 python3-venv \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /opt/tritonserver
COPY --from=full /opt/tritonserver/bin bin
COPY --from=full /opt/tritonserver/lib lib
COPY --from=full /opt/tritonserver/libraries libraries
COPY --from=full /opt/tritonserver/backends/python backends/python
COPY --from=full /opt/tritonserver/backends/openvino backends/openvino
ENV PATH=/opt/venv/bin:/opt/tritonserver/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 \
    COUNTERSIGN_TRITON=/opt/tritonserver COUNTERSIGN_HOST=0.0.0.0 COUNTERSIGN_NO_GATEWAY=1 \
    LD_LIBRARY_PATH=/opt/tritonserver/lib:/opt/tritonserver/libraries
# a library that was left behind fails the build, not the first request
RUN ! ldd bin/tritonserver backends/*/libtriton_*.so backends/python/triton_python_backend_stub \
    | grep 'not found'

WORKDIR /countersign
# the steps' libraries and the front; OpenVINO is the backend's own
COPY requirements/build.lock requirements/serve.lock /tmp/
RUN python3 -m venv /opt/venv \
 && cd /tmp \
 && sed '/^openvino/,/[^\\]$/d' serve.lock >steps.lock \
 && for lock in build steps; do \
      /opt/venv/bin/pip install --no-cache-dir --no-deps --no-build-isolation \
        --require-hashes -r $lock.lock || exit 1; \
    done
COPY server server
COPY model_repository model_repository
RUN chmod -R a+rX . && ln -s /countersign/server/countersign-* /opt/venv/bin/
USER 1000:1000
EXPOSE 8000 8001 8002
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=30s --start-period=2m CMD python -m server ready
ENTRYPOINT ["python", "-m", "server"]
