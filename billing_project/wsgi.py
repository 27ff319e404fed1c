"""The web server's way in."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "billing_project.settings")
# longer than a lock is waited for, shorter than clients and proxies wait for an answer
os.environ.setdefault("STATEMENT_TIMEOUT", "25")

application = get_wsgi_application()
