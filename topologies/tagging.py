"""The tagging topology: upload -> tagger -> writer."""

from typing import ClassVar

from streamparse import Grouping, Topology

from bolts.tagger import TaggerBolt
from bolts.writer import WriterBolt
from spouts.upload import UploadSpout

PARK = "org.apache.storm.policy.WaitStrategyPark"


class Tagging(Topology):
    """Component NAME runs as often as the setting ``autotag.NAME.parallelism`` says (see tasks.py).

    All results of one photo go to the same writer.
    """

    # The options that are the same in every environment; config.json has those that differ. A parked thread looks for
    # tuples every 1 ms. Storm's own strategy spins first, on the cores that the network needs.
    config: ClassVar = {
        "topology.bolt.wait.strategy": PARK,
        "topology.bolt.wait.park.microsec": 1000,
        "topology.spout.wait.strategy": PARK,
        "topology.spout.wait.park.microsec": 1000,
        "topology.backpressure.wait.strategy": PARK,
        "topology.backpressure.wait.park.microsec": 1000,
    }

    upload = UploadSpout.spec()
    tagger = TaggerBolt.spec(inputs={upload: Grouping.SHUFFLE})
    writer = WriterBolt.spec(
        inputs={
            tagger["tagged"]: Grouping.fields("photo_id"),
            tagger["rejected"]: Grouping.fields("photo_id"),
            upload["deleted"]: Grouping.fields("photo_id"),
        },
    )
