# Pin the base by digest where you build: --build-arg BASE=docker.io/library/python:3.13-slim-bookworm@sha256:...
ARG BASE=docker.io/library/python:3.13-slim-bookworm

# The tools that build the wheel stay in /opt/build; only /opt/mailsyncd goes on.
FROM ${BASE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
COPY requirements/ requirements/
RUN python -m venv /opt/build \
    && python -m venv /opt/mailsyncd \
    && /opt/build/bin/pip install -q --require-hashes --no-deps -r requirements/build.txt \
    && /opt/mailsyncd/bin/pip install -q --require-hashes --no-deps -r requirements/run.txt
COPY pyproject.toml README.md LICENSE ./
COPY mailsyncd/ mailsyncd/
RUN /opt/build/bin/pip wheel -q --no-deps --no-build-isolation --wheel-dir dist . \
    && /opt/mailsyncd/bin/pip install -q --no-deps --no-index dist/*.whl \
    && /opt/mailsyncd/bin/pip check \
    && /opt/mailsyncd/bin/pip uninstall -q -y pip

FROM ${BASE}
LABEL org.opencontainers.image.title="mailsyncd" \
      org.opencontainers.image.description="Copies new Gmail mail into Outlook.com: now, once, unchanged." \
      org.opencontainers.image.licenses="GPL-3.0-or-later"
RUN groupadd --gid 10001 mailsyncd \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /var/lib/mailsyncd --shell /usr/sbin/nologin mailsyncd \
    && install -d -m 0700 -o 10001 -g 10001 /var/lib/mailsyncd /run/mailsyncd \
    && install -d -m 0755 /etc/mailsyncd
COPY --from=build /opt/mailsyncd /opt/mailsyncd
# The same two variables that systemd sets: the state and the socket go there by themselves.
ENV PATH=/opt/mailsyncd/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    STATE_DIRECTORY=/var/lib/mailsyncd \
    RUNTIME_DIRECTORY=/run/mailsyncd
USER 10001:10001
VOLUME ["/var/lib/mailsyncd", "/run/mailsyncd"]
STOPSIGNAL SIGTERM
# 1 is "degraded": something waits or reconnects, and a restart would not hasten it.
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s --retries=3 \
    CMD mailsyncd check --socket /run/mailsyncd/mailsyncd.sock || [ $? -eq 1 ]
ENTRYPOINT ["mailsyncd"]
CMD ["run", "--config", "/etc/mailsyncd/config.toml"]
