# countersign on the Triton from PyPI, from the repository root:
#   docker build -f docker/pypi.Dockerfile -t countersign .
#   docker run --rm --shm-size=1g -p 127.0.0.1:8000:8000 -p 127.0.0.1:8001:8001 \
#     -e COUNTERSIGN_ALLOW_ANYONE=1 countersign    # or -v keys.json:... -e COUNTERSIGN_KEYS=...
# Any base with Python 3.10 to 3.12, its shared library, venv and glibc >= 2.35 will do.
ARG BASE=docker.io/library/python:3.11-slim-bookworm

FROM ${BASE} AS build
RUN python3 -m venv /opt/venv
COPY requirements/serve.txt requirements/triton.txt /tmp/
RUN /opt/venv/bin/pip install --no-cache-dir -r /tmp/serve.txt \
 && /opt/venv/bin/pip install --no-cache-dir --no-deps -r /tmp/triton.txt
# OpenVINO keeps its CPU plugin, IR and ONNX, and loses what sends usage data; Triton keeps what it
# links and this Python's stub; OpenCV its code. Where a new release has changed a name, the build
# fails.
RUN cd /opt/venv/lib/python3*/site-packages \
 && version=$(python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])') \
 && for name in gguf jax paddle pytorch tensorflow tensorflow_lite; do \
      rm openvino/libs/libopenvino_${name}_frontend.so.*; done \
 && rm openvino/libs/libopenvino_intel_gpu_plugin.so openvino/libs/libopenvino_intel_npu_plugin.so \
      openvino/libs/cache.json nvidia_pytriton.libs/libpython3-* cv2/data/*.xml \
 && rm -r openvino/include openvino_telemetry openvino_telemetry-*.dist-info \
 && find pytriton/tritonserver/python_backend_stubs -mindepth 1 -maxdepth 1 \
      ! -name "$version" -exec rm -r {} + \
 && rm -r pip pip-*.dist-info /opt/venv/bin/pip* \
 && rm -rf setuptools setuptools-*.dist-info pkg_resources _distutils_hack distutils-precedence.pth \
 && find . -type d \( -name tests -o -name __pycache__ \) -prune -exec rm -r {} +
COPY backends /countersign/backends
COPY server /countersign/server
COPY model_repository /countersign/model_repository
# exported or checked out under a strict umask, they are still read by the image's user
RUN chmod -R a+rX /countersign && ln -s /countersign/server/countersign-keys /opt/venv/bin/

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
