"""Cinder in one process for tests: API, scheduler and a volume service, on an in-process message bus."""
if __name__ == '__main__':
    import eventlet
    eventlet.monkey_patch()

import os
import sys

from oslo_config import cfg
from oslo_log import log as logging
from oslo_service import service as oslo_service

from cinder import objects
objects.register_all()
from cinder import interface, rpc, service, version  # noqa: E402
from cinder.common import config  # noqa: E402,F401 its options
from cinder.volume import driver  # noqa: E402

CONF = cfg.CONF


@interface.volumedriver
class FileDriver(driver.VolumeDriver):
    """Volumes are sparse files."""
    VERSION = '1'
    CI_WIKI_NAME = 'none'

    def _path(self, name):
        return os.path.join(CONF.state_path, name)

    def do_setup(self, context):
        os.makedirs(CONF.state_path, exist_ok=True)

    def check_for_setup_error(self):
        pass

    def _make(self, name, size):
        with open(self._path(name), 'wb') as f:
            f.truncate(size << 30)

    def create_volume(self, volume):
        self._make(volume.name, volume.size)

    def create_cloned_volume(self, volume, src_vref):
        self._make(volume.name, volume.size)

    def create_volume_from_snapshot(self, volume, snapshot):
        self._make(volume.name, volume.size)

    def delete_volume(self, volume):
        if os.path.exists(self._path(volume.name)):
            os.remove(self._path(volume.name))

    def extend_volume(self, volume, new_size):
        os.truncate(self._path(volume.name), new_size << 30)

    def create_snapshot(self, snapshot):
        self._make(snapshot.name, snapshot.volume_size)

    def delete_snapshot(self, snapshot):
        if os.path.exists(self._path(snapshot.name)):
            os.remove(self._path(snapshot.name))

    def ensure_export(self, context, volume):
        pass

    def create_export(self, context, volume, connector):
        pass

    def remove_export(self, context, volume):
        pass

    def initialize_connection(self, volume, connector):
        return {'driver_volume_type': 'local', 'data': {'device_path': self._path(volume.name)}}

    def terminate_connection(self, volume, connector, **kwargs):
        pass

    def _update_volume_stats(self):
        self._stats = {'volume_backend_name': 'files', 'vendor_name': 'test', 'driver_version': '1', 'storage_protocol': 'file',
                       'pools': [{'pool_name': 'files', 'total_capacity_gb': 1000, 'free_capacity_gb': 1000, 'reserved_percentage': 0}]}


def main():
    sys.modules['cinder_one'] = sys.modules['__main__']
    CONF(sys.argv[1:], project='cinder', version=version.version_string())
    logging.setup(CONF, 'cinder')
    rpc.init(CONF)
    launcher = oslo_service.ServiceLauncher(CONF)
    launcher.launch_service(service.Service.create(binary='cinder-scheduler'))
    launcher.launch_service(service.Service.create(binary='cinder-volume', host='one@files', service_name='files', coordination=True))
    launcher.launch_service(service.WSGIService('osapi_volume'))
    launcher.wait()


if __name__ == '__main__':
    main()
