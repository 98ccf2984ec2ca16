# Two stages: wheels are built where there is a compiler and a cache, and run where there is none. For amd64 and arm64:
# docker buildx build --platform linux/amd64,linux/arm64 .
# The base is 3.12-slim on Debian 13; the digest is of its index, so of every architecture. A newer one:
# --build-arg BASE=python:3.12-slim@$(docker buildx imagetools inspect python:3.12-slim --format '{{.Manifest.Digest}}')
ARG BASE=python:3.12-slim@sha256:78387bc3881b8273120a12ebe6c1ab22b018ccc2c9adf565ae1ac9b536e184ea
FROM ${BASE} AS build
WORKDIR /src
COPY requirements.lock setup.cfg pyproject.toml README.md LICENSE train_refiner.py train_u2net.py ./
COPY wisp wisp
COPY pipeline pipeline
COPY training training
COPY refiner refiner
COPY u2net u2net
COPY eval eval
COPY service service
# All of it by the hashes of the lock file, the tool that builds the wheel too.
RUN python -m venv /opt/wisp \
 && /opt/wisp/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes -r requirements.lock \
 && /opt/wisp/bin/pip install --no-cache-dir --disable-pip-version-check --no-deps --no-build-isolation . \
 && find /opt/wisp -name "__pycache__" -prune -exec rm -rf {} +

FROM ${BASE}
# No home, no shell, a number that no host uses: what gets out of the process gets nowhere.
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin wisp \
 && install -d -o wisp -g wisp /data
COPY --from=build /opt/wisp /opt/wisp
# Under a name of its own it also needs WISP_HOSTS, and WISP_PROXIES for the proxy: docs/security.md.
ENV PATH=/opt/wisp/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    WISP_HOST=0.0.0.0 \
    WISP_PORT=8000 \
    WISP_DATA=/data \
    WISP_HOME=/data \
    WISP_PUBLIC=1
USER wisp
VOLUME /data
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s --retries=3 \
  CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/readyz', timeout=4)"]
# SIGTERM reaches the process itself, which then finishes what is in work.
STOPSIGNAL SIGTERM
ENTRYPOINT ["wisp", "serve"]
