"""Tags photos with thousands of classifiers: one at a time, as a stream, or a whole corpus.

from autotag import Settings, Tagger

with Tagger.open(Settings.from_config(), any_file=True) as tagger:
    for uri, tags in tagger.tag(["file:///tmp/cat.jpg"]):
        print(uri, tags)
"""
