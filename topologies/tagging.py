"""The tagging topology: upload -> autotag -> writer."""

from streamparse import Grouping, Topology

from bolts.autotag import AutotagBolt
from bolts.writer import WriterBolt
from spouts.upload import UploadSpout


class Tagging(Topology):
    """Parallelism is by environment of config.json; a photo's results always go to the same writer."""

    upload = UploadSpout.spec()
    autotag = AutotagBolt.spec(inputs={upload: Grouping.SHUFFLE}, par={"local": 2, "production": 16})
    writer = WriterBolt.spec(
        inputs={
            autotag["tagged"]: Grouping.fields("photo_id"),
            autotag["rejected"]: Grouping.fields("photo_id"),
            upload["deleted"]: Grouping.fields("photo_id"),
        },
        par={"local": 1, "production": 4},
    )
