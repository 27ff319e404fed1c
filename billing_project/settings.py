"""Settings for every environment; the environment only supplies values."""

from pathlib import Path

import django_stubs_ext
import environ
from django.templatetags.static import static

from billing_project.invariants import BOOKS  # noqa: F401 -- a setting
from billing_project.reactions import REACTIONS  # noqa: F401 -- a setting
from billing_project.schedule import BEAT_SCHEDULE

django_stubs_ext.monkeypatch()  # lets ModelAdmin[Invoice] work at run time

BASE_DIR = Path(__file__).resolve().parent.parent
env = environ.Env()

# --- Core -------------------------------------------------------------------------------------

DEBUG = env.bool("DEBUG", default=False)
SECRET_KEY = env("SECRET_KEY")
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=["localhost", "127.0.0.1", "[::1]"])
# the address under which people reach this installation, for links and cookies
PUBLIC_URL = env("PUBLIC_URL", default="http://127.0.0.1:8000")
CSRF_TRUSTED_ORIGINS = [PUBLIC_URL]

INSTALLED_APPS = [
    "unfold",
    "unfold.contrib.filters",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.postgres",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "django_celery_beat",
    "djmoney",
    "apps.core",
    "apps.tenants",
    "apps.customers",
    "apps.metering",
    "apps.ledger",
    "apps.taxes",
    "apps.catalog",
    "apps.subscriptions",
    "apps.wallets",
    "apps.invoicing",
    "apps.payments",
    "apps.backoffice",
]
MIDDLEWARE = [
    "apps.core.web.middleware.request_id",
    "apps.core.web.middleware.nobodys_scope",
    "apps.core.web.middleware.browser_policy",
    "django.middleware.security.SecurityMiddleware",
    "apps.core.web.middleware.desk_addresses",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "apps.core.web.middleware.prolong_session",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "apps.backoffice.views.scope.desk_scope",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
ROOT_URLCONF = "billing_project.urls"
WSGI_APPLICATION = "billing_project.wsgi.application"
APPEND_SLASH = False
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

# --- Database ---------------------------------------------------------------------------------


# seconds; the web server names its own, tasks have their time limits, commands take what they take
_STATEMENT_TIMEOUT = env.int("STATEMENT_TIMEOUT", default=0)


def _database(variable: str) -> dict[str, object]:
    url = env.db_url(variable)
    return {
        **url,
        "ENGINE": "apps.core.postgresql",
        "CONN_MAX_AGE": env.int("CONN_MAX_AGE", default=60),
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": {
            **url.get("OPTIONS", {}),  # ?host=/a/socket/folder, ?sslmode=…
            "connect_timeout": 5,
            # lock < statement < client or task: whoever waits longest gives up last
            "options": "-c lock_timeout=5s -c idle_in_transaction_session_timeout=60s"
            f" -c statement_timeout={_STATEMENT_TIMEOUT}s",
        },
    }


# What serves anybody connects as a role that owns nothing; see deploy/roles.sql.
DATABASES = {"default": _database("DATABASE_URL")}
# Only `migrate`, `adopt_cluster`, `bench` and `simulate` connect as the owner of the tables, and only
# they get this.
if env("DATABASE_OWNER_URL", default=""):
    DATABASES["owner"] = _database("DATABASE_OWNER_URL")
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
# events older than so many days are dropped month by month; 0 keeps them for ever
EVENT_RETENTION_DAYS = env.int("EVENT_RETENTION_DAYS", default=0)

# --- Security ---------------------------------------------------------------------------------

# what encrypts secrets at rest: the first encrypts, all decrypt; see docs/security.md
ENCRYPTION_KEYS = env.list("ENCRYPTION_KEYS", default=[]) or [SECRET_KEY]
# tokens per second and at most, for each API key and each operator; 0: no limit
RATE_LIMIT_PER_SECOND = env.int("RATE_LIMIT_PER_SECOND", default=500)
RATE_LIMIT_BURST = env.int("RATE_LIMIT_BURST", default=5000)
# from one address, whoever is named; besides, each account has five tries in a quarter of an hour
LOGIN_TRIES_PER_MINUTE = env.int("LOGIN_TRIES_PER_MINUTE", default=30)
# whether operators without a second factor are refused; see manage.py second_factor
REQUIRE_SECOND_FACTOR = env.bool("REQUIRE_SECOND_FACTOR", default=False)
# from where the desk is answered, as 10.0.0.0/8,192.0.2.7/32; from everywhere if empty
DESK_NETWORKS = env.list("DESK_NETWORKS", default=[])
# how many proxies of ours a request passes; only what they write into X-Forwarded-For counts
TRUSTED_PROXIES = env.int("TRUSTED_PROXIES", default=0)
# what tells the API of subscriptions how much a change would cost
PREVIEW_OF_MIGRATIONS = "apps.invoicing.operations.previewing.preview_subscriptions"
PREVIEW_OF_CHANGES = "apps.invoicing.operations.previewing.preview_change"
PREVIEW_OF_CANCELLATIONS = "apps.payments.operations.unused.preview_cancellation"
PREVIEW_OF_AMENDMENTS = "apps.invoicing.operations.correcting.preview_amendment"
AUTH_USER_MODEL = "tenants.Operator"
LOGIN_REDIRECT_URL = "/admin/"
AUTHENTICATION_BACKENDS = ["apps.tenants.api.authentication.CountedLogin"]
PASSWORD_HASHERS = ["django.contrib.auth.hashers.Argon2PasswordHasher"]
AUTH_PASSWORD_VALIDATORS = [
    {
        "NAME": "django.contrib.auth.password_validation.MinimumLengthValidator",
        "OPTIONS": {"min_length": 15},
    },
    {"NAME": "apps.tenants.desk.login.ShortEnough"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
]
_HTTPS = PUBLIC_URL.startswith("https://")
SECURE_SSL_REDIRECT = _HTTPS
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if _HTTPS else None
SECURE_HSTS_SECONDS = 31_536_000 if _HTTPS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = _HTTPS
SECURE_HSTS_PRELOAD = _HTTPS
SECURE_REDIRECT_EXEMPT = [r"^health(/|$)"]
SESSION_COOKIE_SECURE = _HTTPS
SESSION_ENGINE = "apps.core.web.sessions"
SESSION_COOKIE_AGE = 30 * 60  # after the last request; twelve hours after the login in any case
CSRF_COOKIE_SECURE = _HTTPS
if _HTTPS:  # a browser takes these only from this host, over HTTPS
    SESSION_COOKIE_NAME = "__Host-desk"
    CSRF_COOKIE_NAME = "__Host-desk-csrf"
X_FRAME_OPTIONS = "DENY"
DATA_UPLOAD_MAX_MEMORY_SIZE = 5 * 1024 * 1024

# --- Language and time ------------------------------------------------------------------------

LANGUAGE_CODE = "en"
USE_I18N = False
USE_TZ = True
TIME_ZONE = "UTC"

# --- Static files -----------------------------------------------------------------------------

STATIC_URL = "static/"
STATICFILES_DIRS = [BASE_DIR / "static"]
STATIC_ROOT = BASE_DIR / "staticfiles"
WHITENOISE_USE_FINDERS = True

# --- Logging ----------------------------------------------------------------------------------

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "line": {
            "()": "apps.core.scrubbing.Scrubbed",
            "format": "{asctime} {levelname} {name} {message}",
            "style": "{",
        }
    },
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["console"], "level": env("LOG_LEVEL", default="INFO")},
    "loggers": {
        # a line per hint and per drawn font would hide the rest
        **{
            name: {"level": "WARNING"}
            for name in ("celery.app.trace", "celery.worker.strategy", "fontTools", "weasyprint")
        },
        # these bring handlers of their own, which would write what the formatter above hides
        **{
            name: {"handlers": [], "propagate": True, "level": "INFO"}
            for name in ("django", "django.server", "gunicorn.access", "gunicorn.error")
        },
    },
}

# --- API --------------------------------------------------------------------------------------

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["apps.tenants.api.authentication.Bearer"],
    "DEFAULT_PERMISSION_CLASSES": [],
    "DEFAULT_PARSER_CLASSES": ["apps.core.web.parsing.StrictJSONParser"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "apps.core.web.parsing.AlwaysJSON",
    "DEFAULT_PAGINATION_CLASS": "apps.core.web.paging.CursorPagination",
    "DEFAULT_SCHEMA_CLASS": "apps.core.web.openapi.Schema",
    "EXCEPTION_HANDLER": "apps.core.web.errors.handle",
    "UNAUTHENTICATED_USER": None,
    "COERCE_DECIMAL_TO_STRING": True,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Countinghouse",
    "DESCRIPTION": "Metering, rating, invoicing, collecting and books. See docs/ for the guides.",
    "VERSION": "1",
    "OAS_VERSION": "3.1.0",
    "SERVE_INCLUDE_SCHEMA": False,
    "SCHEMA_PATH_PREFIX": "/api/v1",
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "COMPONENT_SPLIT_REQUEST": True,
    "ENUM_GENERATE_CHOICE_DESCRIPTION": False,
    "SERVE_PERMISSIONS": [],
    "SERVE_AUTHENTICATION": [],
    "SORT_OPERATIONS": True,
    "POSTPROCESSING_HOOKS": [],  # enums stay where they are used, so they need no names
}
JWT_LIFETIME_SECONDS = 3600

# --- Fault harness: the tests that let processes die, see core.failpoints ----------------------

# refused unless DEBUG is on or the harness says that it is itself
FAILPOINTS = env("FAILPOINTS", default="")
FAULT_HARNESS = env.bool("FAULT_HARNESS", default=False)

# --- Admin ------------------------------------------------------------------------------------

UNFOLD = {
    "SITE_TITLE": "Countinghouse",
    "SITE_HEADER": "Countinghouse",
    "SITE_SUBHEADER": "The operators' desk",
    "SITE_SYMBOL": "account_balance",
    "SITE_URL": "/",
    "SITE_FAVICONS": [
        {"rel": "icon", "type": "image/svg+xml", "href": lambda _: static("backoffice/icon.svg")}
    ],
    "SHOW_HISTORY": False,
    "SHOW_VIEW_ON_SITE": False,
    "STYLES": [lambda _: static("backoffice/desk.css")],
    "BORDER_RADIUS": "6px",
    "COLORS": {
        "primary": {
            "50": "oklch(97% .02 190)",
            "100": "oklch(94% .04 190)",
            "200": "oklch(89% .07 190)",
            "300": "oklch(82% .1 190)",
            "400": "oklch(72% .11 190)",
            "500": "oklch(60% .1 190)",
            "600": "oklch(51% .09 192)",
            "700": "oklch(44% .08 194)",
            "800": "oklch(38% .06 196)",
            "900": "oklch(33% .05 198)",
            "950": "oklch(24% .04 200)",
        },
    },
    "LOGIN": {"form": "apps.tenants.desk.login.LoginForm"},
    "DASHBOARD_CALLBACK": "apps.backoffice.views.dashboard.dashboard",
    "SIDEBAR": {"navigation": "apps.backoffice.navigation.sidebar"},
}

# --- Celery: a carrier of hints, see core.jobs ------------------------------------------------

CELERY_BROKER_URL = env("REDIS_URL")
CELERY_RESULT_BACKEND = None
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_TIMEZONE = "UTC"
CELERY_ENABLE_UTC = True
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_TASK_SOFT_TIME_LIMIT = 600
CELERY_TASK_TIME_LIMIT = 660
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_TRANSPORT_OPTIONS = {
    "visibility_timeout": 900,
    "health_check_interval": 25,
    # a line that has gone silent is given up instead of waited for, for ever
    "socket_timeout": 30,
    "socket_connect_timeout": 5,
    "socket_keepalive": True,
}
CELERY_TASK_PUBLISH_RETRY_POLICY = {"max_retries": 1, "interval_start": 0.1, "interval_max": 0.2}
CELERY_WORKER_SOFT_SHUTDOWN_TIMEOUT = 10
CELERY_BEAT_SCHEDULER = "billing_project.beat:Scheduler"
CELERY_BEAT_SCHEDULE = BEAT_SCHEDULE
DJANGO_CELERY_BEAT_TZ_AWARE = True
