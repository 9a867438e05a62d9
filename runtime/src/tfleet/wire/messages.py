"""Where the message classes are built; `tfleet.wire` offers them to everybody else."""

from tfleet.wire import pool, schema, serving_schema

POOL, TYPES = pool.build(schema.WELL_KNOWN + schema.TENSORFLOW + serving_schema.SERVING + serving_schema.HEALTH)
