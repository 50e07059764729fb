# The gateway alone, before any countersign server, from the repository root:
#   docker build -f docker/gateway.Dockerfile -t countersign-gateway .
#   docker run --rm -p 127.0.0.1:8080:8080 -e COUNTERSIGN_GATEWAY_TRITON=HOST:8001 \
#     -e COUNTERSIGN_GATEWAY_ALLOW_ANYONE=1 countersign-gateway
# It has no model and no Triton. The prediction log is in the volume /data: -v countersign-log:/data
ARG BASE=docker.io/library/python:3.11-slim-bookworm

FROM ${BASE} AS build
COPY requirements/build.lock requirements/gateway.lock /tmp/
RUN python3 -m venv /opt/venv \
 && python3 -m venv /opt/build \
 && /opt/build/bin/pip install --no-cache-dir --no-deps --require-hashes -r /tmp/build.lock \
 && /opt/venv/bin/pip install --no-cache-dir --no-deps --require-hashes -r /tmp/gateway.lock
COPY client /tmp/client
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation -w /tmp /tmp/client \
 && /opt/venv/bin/pip install --no-cache-dir --no-deps /tmp/countersign_client-*.whl
# what comes with tritonclient and OpenCV and is not used here; grpc and numpy lose their tests
RUN cd /opt/venv/lib/python3*/site-packages \
 && rm -r cv2/data/*.xml pip pip-*.dist-info /opt/venv/bin/pip* \
 && rm -rf setuptools setuptools-*.dist-info pkg_resources _distutils_hack distutils-precedence.pth \
 && find . -type d \( -name tests -o -name __pycache__ \) -prune -exec rm -r {} +
COPY gateway /countersign/gateway
RUN chmod -R a+rX /countersign

FROM ${BASE}
ENV PATH=/opt/venv/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 \
    COUNTERSIGN_GATEWAY_HOST=0.0.0.0 COUNTERSIGN_GATEWAY_DATA=/data
WORKDIR /countersign
COPY --from=build /opt/venv /opt/venv
COPY --from=build /countersign /countersign
RUN install -d -m 700 -o 1000 -g 1000 /data
USER 1000:1000
VOLUME /data
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=30s --start-period=1m CMD python -m gateway ready
ENTRYPOINT ["python", "-m", "gateway"]
