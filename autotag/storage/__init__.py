"""Files and folders at any URL, lines, Parquet, SQLite files and locks. Imports photos and what is below it."""
