"""Who has the new version after the rollout."""

testinfra_hosts = ["ansible://tfleet-rollout-1,tfleet-rollout-2,tfleet-rollout-3,tfleet-rollout-4"]


def test_the_host_serves_the_new_version(serves_version_2):
    serves_version_2()
