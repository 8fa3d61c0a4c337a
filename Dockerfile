# Pin the base by digest where you build: --build-arg BASE=docker.io/library/python:3.13-slim-bookworm@sha256:...
ARG BASE=docker.io/library/python:3.13-slim-bookworm

FROM ${BASE} AS build
WORKDIR /src
RUN python -m venv /opt/mailsyncd
COPY requirements/ requirements/
RUN /opt/mailsyncd/bin/pip install --no-cache-dir --require-hashes --no-deps -r requirements/run.txt \
    && /opt/mailsyncd/bin/pip install --no-cache-dir --require-hashes --no-deps -r requirements/build.txt
COPY pyproject.toml README.md LICENSE ./
COPY mailsyncd/ mailsyncd/
RUN /opt/mailsyncd/bin/pip install --no-cache-dir --no-deps --no-build-isolation . \
    && /opt/mailsyncd/bin/pip uninstall -q -y hatchling editables pip \
    && find /opt/mailsyncd -name __pycache__ -prune -exec rm -rf {} +

FROM ${BASE}
LABEL org.opencontainers.image.title="mailsyncd" \
      org.opencontainers.image.description="Copies new Gmail mail into Outlook.com: now, once, unchanged." \
      org.opencontainers.image.licenses="GPL-3.0-or-later"
RUN groupadd --gid 10001 mailsyncd \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /var/lib/mailsyncd --shell /usr/sbin/nologin mailsyncd \
    && install -d -m 0700 -o 10001 -g 10001 /var/lib/mailsyncd /run/mailsyncd \
    && install -d -m 0755 /etc/mailsyncd
COPY --from=build /opt/mailsyncd /opt/mailsyncd
ENV PATH=/opt/mailsyncd/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    STATE_DIRECTORY=/var/lib/mailsyncd \
    RUNTIME_DIRECTORY=/run/mailsyncd
USER 10001:10001
VOLUME ["/var/lib/mailsyncd", "/run/mailsyncd"]
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s --retries=3 \
    CMD ["mailsyncd", "check", "--socket", "/run/mailsyncd/mailsyncd.sock"]
ENTRYPOINT ["mailsyncd"]
CMD ["run", "--config", "/etc/mailsyncd/config.toml"]
