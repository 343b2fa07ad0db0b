"""The tagging topology: upload -> tagger -> writer."""

from typing import ClassVar

from streamparse import Grouping, Topology

from bolts.parallelism import Parallelism
from bolts.tagger import TaggerBolt
from bolts.writer import WriterBolt
from spouts.upload import UploadSpout

PARK = "org.apache.storm.policy.WaitStrategyPark"


class Tagging(Topology):
    """A photo's results always go to the same writer. Parallelism is a setting of each environment."""

    # The same in every environment; what differs stands in config.json. Parked threads look again after 1 ms: Storm's
    # own strategy spins first, on the cores that the network needs.
    config: ClassVar = {
        "topology.bolt.wait.strategy": PARK,
        "topology.bolt.wait.park.microsec": 1000,
        "topology.spout.wait.strategy": PARK,
        "topology.spout.wait.park.microsec": 1000,
        "topology.backpressure.wait.strategy": PARK,
        "topology.backpressure.wait.park.microsec": 1000,
    }

    upload = UploadSpout.spec(par=Parallelism("upload"))
    tagger = TaggerBolt.spec(inputs={upload: Grouping.SHUFFLE}, par=Parallelism("tagger"))
    writer = WriterBolt.spec(
        inputs={
            tagger["tagged"]: Grouping.fields("photo_id"),
            tagger["rejected"]: Grouping.fields("photo_id"),
            upload["deleted"]: Grouping.fields("photo_id"),
        },
        par=Parallelism("writer"),
    )
