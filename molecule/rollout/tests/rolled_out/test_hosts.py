"""Who has the new version after the rollout."""

testinfra_hosts = ["ansible://tfleet-rollout-%d" % number for number in range(1, 5)]


def test_the_host_serves_the_new_version(serves_version_2):
    serves_version_2()
