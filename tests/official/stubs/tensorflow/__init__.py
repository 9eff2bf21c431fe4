"""A stand-in for TensorFlow: all that the official tools ask of it when the model is a torch module."""


class Module:
    """Nothing here is an instance of it."""


class test:
    """The namespace ``tf.test``."""

    @staticmethod
    def is_gpu_available(*args: object, **kwargs: object) -> bool:
        """No TensorFlow, no GPU for it."""
        return False
