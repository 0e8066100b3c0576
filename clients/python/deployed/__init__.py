"""The package as it is deployed: Django under gunicorn and uvicorn, tasks under Celery."""
