"""The report on the study: participants, methods, limitations, checklists, provenance, model card and data card."""
