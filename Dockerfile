# To renew the base: docker buildx imagetools inspect python:3.13-slim-bookworm, and its digest here.
# Or for one build: --build-arg BASE=...@sha256:...
ARG BASE=docker.io/library/python:3.13-slim-bookworm@sha256:01f42367a0a94ad4bc17111776fd66e3500c1d87c15bbd6055b7371d39c124fb

# The tools that build the wheel stay in /opt/build; only /opt/mailsyncd goes on.
FROM ${BASE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore PIP_NO_COMPILE=1
WORKDIR /src
COPY requirements/build.txt requirements/run.txt requirements/
RUN python -m venv /opt/build \
    && python -m venv /opt/mailsyncd \
    && /opt/build/bin/pip install -q --require-hashes --no-deps -r requirements/build.txt \
    && /opt/mailsyncd/bin/pip install -q --require-hashes --no-deps -r requirements/run.txt
COPY pyproject.toml README.md LICENSE ./
COPY mailsyncd/ mailsyncd/
COPY deploy/trim_botocore.sh deploy/image_root.sh deploy/
RUN /opt/build/bin/pip wheel -q --no-deps --no-build-isolation --wheel-dir dist . \
    && /opt/mailsyncd/bin/pip install -q --no-deps --no-index dist/*.whl \
    && /opt/mailsyncd/bin/pip check \
    && /opt/mailsyncd/bin/pip uninstall -q -y pip \
    && deploy/trim_botocore.sh /opt/mailsyncd/lib/python3.*/site-packages \
    && deploy/image_root.sh /image

# Python, its libraries, mailsyncd and a shell for the health check: there is nothing else in it.
FROM scratch
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="mailsyncd" \
      org.opencontainers.image.description="Copies new Gmail mail into Outlook.com: now, once, unchanged." \
      org.opencontainers.image.documentation="file:README.md" \
      org.opencontainers.image.licenses="GPL-3.0-or-later" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /image /
# STATE_DIRECTORY and RUNTIME_DIRECTORY are those that systemd sets: state and socket go there by themselves.
ENV PATH=/opt/mailsyncd/bin:/usr/local/bin:/bin \
    LANG=C.UTF-8 \
    SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    STATE_DIRECTORY=/var/lib/mailsyncd \
    RUNTIME_DIRECTORY=/run/mailsyncd
USER 10001:10001
VOLUME ["/var/lib/mailsyncd", "/run/mailsyncd"]
STOPSIGNAL SIGTERM
# 1 is "degraded": something waits or reconnects, and a restart would not hasten it.
# hadolint ignore=DL3025
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s --retries=3 \
    CMD mailsyncd check --fast --socket /run/mailsyncd/mailsyncd.sock || [ $? -eq 1 ]
ENTRYPOINT ["mailsyncd"]
CMD ["run", "--config", "/etc/mailsyncd/config.toml"]
