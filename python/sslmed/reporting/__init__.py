"""Reports: figures of results, and pages that hold them. Imports nothing else of this package."""
