"""A real ClickHouse server as a child process, with a configuration of its own, nothing of the machine's."""

import http.client
import shutil
from collections.abc import Sequence

from simulator.errors import EnvironmentFailedError
from simulator.live.process import ServerProcess

__all__ = ["ClickHouseServer"]

PROBE_TIMEOUT_S = 2.0

# Times are UTC, as in the simulated server. No TCP or interserver listener, no system log tables. The users,
# profiles and quotas stand in the same file, where the server looks for them when no users_config is named.
# The pool is small and the caches are too: a test's tables hold a few rows.
CONFIG = """\
<?xml version="1.0"?>
<yandex>
  <logger><level>warning</level><console>true</console></logger>
  <listen_host>127.0.0.1</listen_host>
  <http_port>{port}</http_port>
  <path>{directory}/data/</path>
  <tmp_path>{directory}/tmp/</tmp_path>
  <user_files_path>{directory}/user_files/</user_files_path>
  <format_schema_path>{directory}/format_schemas/</format_schema_path>
  <timezone>UTC</timezone>
  <max_connections>512</max_connections>
  <keep_alive_timeout>60</keep_alive_timeout>
  <uncompressed_cache_size>1048576</uncompressed_cache_size>
  <mark_cache_size>5242880</mark_cache_size>
  <default_profile>default</default_profile>
  <default_database>default</default_database>
  <profiles><default><background_pool_size>2</background_pool_size><max_threads>1</max_threads></default></profiles>
  <users>
    <default>
      <password></password>
      <networks><ip>127.0.0.1</ip></networks>
      <profile>default</profile>
      <quota>default</quota>
    </default>
  </users>
  <quotas><default></default></quotas>
</yandex>
"""


class ClickHouseServer(ServerProcess):
    """One real ClickHouse, HTTP on 127.0.0.1, user default. The simulation is held to Debian's 18.16.1.

    An acknowledged insert survives `kill`: the server has written the part to the page cache before it
    answers. What a loss of power would take is not reproduced.
    """

    name = "clickhouse"

    @property
    def url(self) -> str:
        """The base URL of the HTTP interface."""
        return f"http://127.0.0.1:{self.port}"

    def command(self) -> Sequence[str]:
        """Write the configuration and return the server's command line."""
        config = self.directory / "config.xml"
        config.write_text(CONFIG.format(port=self.port, directory=self.directory))
        return [*_program(), f"--config-file={config}"]

    def is_ready(self) -> bool:
        """Say whether GET /ping is answered with "Ok."."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PROBE_TIMEOUT_S)
        try:
            connection.request("GET", "/ping")
            return connection.getresponse().read() == b"Ok.\n"
        except http.client.HTTPException:
            return False
        finally:
            connection.close()


def _program() -> Sequence[str]:
    """Return the words that call the server: its own program, or the multi-call one of later releases."""
    if server := shutil.which("clickhouse-server") or shutil.which("/usr/sbin/clickhouse-server"):
        return [server]
    if multicall := shutil.which("clickhouse"):
        return [multicall, "server"]
    raise EnvironmentFailedError(
        "clickhouse could not be started: neither clickhouse-server nor clickhouse is on PATH. "
        "Install it with scripts/services, then try again."
    )
