# Web, worker and beat are one image with different commands; see docker-compose.yml.
# It holds no secret: everything about an installation comes from its environment.

FROM python:3.12-slim-bookworm AS build

RUN python -m venv /opt/venv
COPY requirements-production.lock /tmp/
RUN /opt/venv/bin/pip install --no-cache-dir --disable-pip-version-check \
      --require-hashes --only-binary :all: -r /tmp/requirements-production.lock


FROM python:3.12-slim-bookworm

# Pango makes the PDFs; it is the one library that no wheel brings.
RUN apt-get update \
 && apt-get install -y --no-install-recommends \
      libpango-1.0-0 libpangoft2-1.0-0 libharfbuzz-subset0 \
 && rm -rf /var/lib/apt/lists/* \
 && groupadd --system --gid 10001 billing \
 && useradd --system --uid 10001 --gid billing --no-create-home --home-dir /nonexistent billing

ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    DJANGO_SETTINGS_MODULE=billing_project.settings

COPY --from=build /opt/venv /opt/venv
WORKDIR /app
COPY manage.py ./
COPY templates templates
COPY static static
COPY billing_project billing_project
COPY apps apps

# These values exist for this one command and are not kept.
RUN SECRET_KEY=unused DATABASE_URL=postgresql://unused/unused REDIS_URL=redis://unused \
      python manage.py collectstatic --no-input --verbosity 0

USER billing
EXPOSE 8000

# 127.0.0.1 has to be one of ALLOWED_HOSTS.
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s --retries=3 \
  CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/health/live', timeout=4)"]

CMD ["gunicorn", "billing_project.wsgi", \
     "--bind", "0.0.0.0:8000", "--worker-class", "gthread", "--workers", "2", "--threads", "4", \
     "--worker-tmp-dir", "/dev/shm", "--no-control-socket"]
